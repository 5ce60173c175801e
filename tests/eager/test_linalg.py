"""Linear algebra where it can fail, the storage behind views by strides, and writes whose places a mask gives."""

import numpy as np
import pytest

import flambeau as torch
from eager.gradcheck import gradcheck, gradgradcheck

SINGULAR = torch.tensor([[[1.0, 2.0], [2.0, 4.0]], [[2.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)


@pytest.mark.parametrize(
    "call",
    [
        torch.linalg.inv,
        torch.linalg.lu_factor,
        lambda a: torch.linalg.solve(a, torch.ones(2, 2, dtype=torch.float64)),
        lambda a: torch.linalg.cholesky(-a),
    ],
    ids=["inv", "lu_factor", "solve", "cholesky"],
)
def test_a_matrix_without_a_decomposition_says_which(call):
    with pytest.raises(torch.linalg.LinAlgError, match=r"linalg\.\w+: \(Batch element 0\)"):
        call(SINGULAR)


def test_forms_with_info_go_on_with_the_other_matrices():
    inverse, info = torch.linalg.inv_ex(SINGULAR)
    assert info.tolist() == [2, 0] and info.dtype is torch.int32
    np.testing.assert_allclose(inverse[1].numpy(), [[0.5, 0], [0, 1]])
    found, info = torch.linalg.solve_ex(SINGULAR, torch.ones(2, 2, 1, dtype=torch.float64))
    assert info.tolist() == [2, 0]
    np.testing.assert_allclose(found[1].numpy(), [[0.5], [1]])
    assert torch.linalg.cholesky_ex(-SINGULAR).info.tolist() == [1, 1]
    assert torch.linalg.lu_factor_ex(SINGULAR).info.tolist() == [2, 0]


@pytest.mark.parametrize("hermitian", [False, True])
def test_ldl_of_an_indefinite_matrix_solves(hermitian):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 6, 6)) + 1j * rng.standard_normal((3, 6, 6))
    values = values + (values.conj() if hermitian else values).swapaxes(-2, -1)
    A, B = torch.tensor(values), torch.tensor(rng.standard_normal((3, 6, 2)) + 0j)
    LD, pivots = torch.linalg.ldl_factor(A, hermitian=hermitian)
    assert (pivots < 0).any()  # some blocks are of two rows
    found = torch.linalg.ldl_solve(LD, pivots, B, hermitian=hermitian)
    np.testing.assert_allclose((A @ found).numpy(), B.numpy(), atol=1e-9)


def test_the_determinant_of_a_singular_matrix_has_its_cofactors_as_gradient():
    A = SINGULAR[0].clone().requires_grad_()
    torch.linalg.det(A).backward()
    np.testing.assert_allclose(A.grad.numpy(), [[4, -2], [-2, 1]], atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)], ids=str)
def test_complex_factorizations_differentiate_twice(shape):
    rng = np.random.default_rng(1)
    A = torch.tensor(rng.standard_normal(shape) + 1j * rng.standard_normal(shape), requires_grad=True)
    for function in (lambda a: torch.linalg.lu(a)[1:], torch.linalg.qr, torch.linalg.pinv):
        assert gradcheck(function, (A,)) and gradgradcheck(function, (A,))


def test_as_strided_counts_from_the_start_of_the_storage():
    x = torch.arange(10.0)
    assert x[4:].as_strided((2,), (1,), 0).tolist() == [0, 1]
    assert x[4:].as_strided((2,), (1,)).tolist() == [4, 5]
    with pytest.raises(RuntimeError, match="out of bounds for storage"):
        x.as_strided((2, 2), (1, 9), 1)


def test_elements_that_a_view_shows_twice_share_gradients():
    x = torch.arange(6.0, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: x.as_strided((2, 3), (1, 1), 1) ** 2, (x,))


@pytest.mark.parametrize("values", [(2, 3), (3,), (1, 3), ()], ids=str)
def test_gradients_of_values_written_where_a_mask_holds(values):
    mask = torch.tensor([True, False, True])

    def write(x, v):
        x = x.clone()
        x[mask] = v
        return x * x

    x = torch.ones(3, 3, dtype=torch.float64).requires_grad_()
    v = torch.full(values, 2.0, dtype=torch.float64).requires_grad_()
    assert gradcheck(write, (x, v))
    expected = write(x, v)
    compiled = torch.compile(write, backend="aot_eager")
    want = torch.autograd.grad(expected.sum(), (x, v))
    for a, b in zip(torch.autograd.grad(compiled(x, v).sum(), (x, v)), want):
        np.testing.assert_allclose(a.numpy(), b.numpy())


def test_products_with_zeros_have_the_gradient_of_the_other_factors():
    source = torch.tensor([2.0, 0.0, 3.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    index = torch.tensor([0, 0, 0, 1, 1])
    torch.ones(2, dtype=torch.float64).scatter_reduce(0, index, source, "prod").sum().backward()
    assert source.grad.tolist() == [0, 6, 0, 0, 0]
