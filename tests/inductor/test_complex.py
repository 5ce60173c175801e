"""Complex numbers cross compiled programs: what kernels do not have runs eagerly between them."""

import numpy as np
import pytest

import flambeau as torch
from eager.fake import FakeTensor


def matches(function, *inputs):
    """The compiled function gives eager's results and gradients."""
    kept = [torch.tensor(x, requires_grad=True) for x in inputs]
    given = [torch.tensor(x, requires_grad=True) for x in inputs]
    expected, found = function(*kept), torch.compile(function)(*given)
    assert found.dtype is expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    expected.abs().sum().backward()
    found.abs().sum().backward()
    for a, b in zip(given, kept):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-3, atol=1e-4)


X = np.linspace(-1, 2, 24, dtype=np.float32).reshape(4, 6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.fft.rfft(x * 2).transpose(0, 1),
        lambda x: torch.stft(x[0], 4, return_complex=True),
        lambda x: torch.view_as_complex(x.reshape(4, 3, 2)).mT * 2,
        lambda x: torch.fft.fft2(x).real + 1,
        lambda x: torch.linalg.eigvals(x[:, :4] + torch.eye(4)),
    ],
    ids=["rfft", "stft", "view_as_complex", "real", "eigvals"],
)
def test_complex_results_and_gradients(function):
    matches(function, X)


def test_a_write_through_the_real_part():
    def f(x):
        z = torch.complex(x, x + 1)
        z.real.mul_(2)
        z.imag.add_(x)
        return torch.view_as_real(z)

    matches(f, X)


def test_a_write_through_a_view_by_strides():
    def f(x):
        y = x * 1
        y.as_strided((3,), (2,), 1).mul_(3)
        return y

    matches(f, X)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.float64])
def test_bytes_share_memory_and_fakes_agree(kind):
    x = torch.zeros(2, 4)
    view, fake = x.view(kind), FakeTensor.of(x).view(kind)
    assert view.shape == fake.shape and view.stride() == fake.stride() and fake.dtype is kind
    view.fill_(1)
    assert (x.view(torch.int32) != 0).any()
