"""torch's small functions: questions after tensors and types, debugging modes, `cond` and `while_loop`, pruning."""

import numpy as np
import pytest

import flambeau
from flambeau.nn.utils import prune


def test_asarray_shares_or_copies():
    array = np.ones(3, np.float32)
    shared = flambeau.asarray(array)
    array[0] = 5
    assert shared.tolist() == [5.0, 1.0, 1.0]
    assert flambeau.asarray(array, copy=True).data_ptr() != shared.data_ptr()
    assert flambeau.asarray([1, 2]).dtype is flambeau.int64
    assert flambeau.asarray([1, 2], dtype=flambeau.float64, requires_grad=True).requires_grad
    tensor = flambeau.ones(2)
    assert flambeau.asarray(tensor) is tensor
    for given, how in (([1, 2], {}), (tensor, dict(dtype=flambeau.int8))):
        with pytest.raises(ValueError, match="alias"):
            flambeau.asarray(given, copy=False, **how)


@pytest.mark.torch
def test_what_may_be_cast():
    torch = pytest.importorskip("torch")
    names = "bool uint8 int64 float16 float64 complex64".split()
    for a in names:
        for b in names:
            mine, theirs = ([getattr(library, name) for name in (a, b)] for library in (flambeau, torch))
            assert flambeau.can_cast(*mine) == torch.can_cast(*theirs)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:torch.range")
def test_range_includes_its_end():
    torch = pytest.importorskip("torch")
    for args in ((1, 4), (1, 4, 0.5), (0, 1, 0.3), (5, 1, -2), (2, 2)):
        assert flambeau.range(*args).tolist() == pytest.approx(torch.range(*args).tolist())
    assert flambeau.range(1, 3, dtype=flambeau.int64).tolist() == [1, 2, 3]
    for args in ((1, 4, -1), (1, 4, 0)):
        with pytest.raises(RuntimeError, match="step"):
            flambeau.range(*args)


def test_binomial():
    flambeau.manual_seed(0)
    found = flambeau.binomial(flambeau.full((2000,), 10.0), flambeau.full((2000,), 0.3))
    assert abs(found.mean().item() - 3.0) < 0.15 and abs(found.var().item() - 2.1) < 0.3
    assert flambeau.binomial(flambeau.tensor([0.0, 5.0]), flambeau.tensor([0.5, 1.0])).tolist() == [0.0, 5.0]
    with pytest.raises(RuntimeError, match="probabilities"):
        flambeau.binomial(flambeau.tensor([1.0]), flambeau.tensor([1.5]))


def test_tensors_over_files(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    private = flambeau.from_file(str(path), size=4)
    private[0] = 7
    assert flambeau.from_file(str(path), size=4).tolist() == [0.0, 1.0, 2.0, 3.0]
    shared = flambeau.from_file(str(path), shared=True, size=4)
    shared[0] = 7
    assert flambeau.from_file(str(path), size=4).tolist() == [7.0, 1.0, 2.0, 3.0]
    with pytest.raises(RuntimeError, match="bytes"):
        flambeau.from_file(str(path), size=5)


def test_modes():
    assert flambeau.get_deterministic_debug_mode() == 0
    flambeau.set_deterministic_debug_mode("error")
    assert flambeau.get_deterministic_debug_mode() == 2
    flambeau.set_deterministic_debug_mode(0)
    with pytest.raises(RuntimeError, match="debug_mode"):
        flambeau.set_deterministic_debug_mode("never")
    flambeau.set_anomaly_enabled(True)
    assert flambeau.is_anomaly_enabled() and flambeau.is_anomaly_check_nan_enabled()
    flambeau.set_anomaly_enabled(False)
    flambeau.set_warn_always(True)
    assert flambeau.is_warn_always_enabled()
    flambeau.set_warn_always(False)
    assert flambeau.sym_max(2, 1.0) == 2.0 and isinstance(flambeau.sym_max(2, 1.0), float)
    assert flambeau.sym_int(-1.7) == -1 and flambeau.sym_ite(False, 1, 2) == 2 and flambeau.sym_sum([1, 2]) == 3


def test_elements_through_a_function():
    x = flambeau.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.apply_(lambda v: v * v) is x and x.tolist() == [[1.0, 4.0], [9.0, 16.0]]
    assert x.map_(flambeau.ones(2), lambda a, b: a - b).tolist() == [[0.0, 3.0], [8.0, 15.0]]
    assert x.map2_(x.clone(), x.clone(), lambda a, b, c: a + b + c).tolist() == [[0.0, 9.0], [24.0, 45.0]]
    with pytest.raises(RuntimeError, match="requires grad"):
        flambeau.ones(2, requires_grad=True).apply_(abs)
    assert flambeau.tensor([1, 5]).less_(3).tolist() == [1, 0]


def test_cond_and_while_loop():
    x = flambeau.ones(2, requires_grad=True)
    found = flambeau.cond(x.sum() > 1, lambda t: t * 2, lambda t: t * 3, (x,))
    found.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    count, value = flambeau.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v * 2), (flambeau.tensor(0), flambeau.ones(1)))
    assert count.item() == 3 and value.item() == 8.0
    with pytest.raises(RuntimeError, match="single-element"):
        flambeau.cond(flambeau.ones(2), abs, abs, (x,))
    with pytest.raises(RuntimeError, match="body_fn"):
        flambeau.while_loop(lambda i: i < 3, lambda i: i + 1, (flambeau.tensor(0),))


RULES = [
    ("l1_unstructured", dict(amount=3)),
    ("l1_unstructured", dict(amount=0.4)),
    ("ln_structured", dict(amount=1, n=2, dim=0)),
    ("ln_structured", dict(amount=0.5, n=1, dim=1)),
    ("identity", dict()),
]


@pytest.mark.torch
@pytest.mark.parametrize("rules", [[r] for r in RULES] + [[RULES[0], RULES[2]], [RULES[2], RULES[1], RULES[3]]], ids=range(7))
def test_pruning_as_torch(rules):
    torch = pytest.importorskip("torch")
    import torch.nn.utils.prune as other

    weight = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    mine, theirs = flambeau.nn.Linear(6, 4), torch.nn.Linear(6, 4)
    mine.weight.data, theirs.weight.data = flambeau.from_numpy(weight.copy()), torch.from_numpy(weight.copy())
    for name, how in rules:
        getattr(prune, name)(mine, "weight", **how)
        getattr(other, name)(theirs, "weight", **how)
        np.testing.assert_array_equal(mine.weight.detach().numpy(), theirs.weight.detach().numpy())
    assert list(mine.state_dict()) == list(theirs.state_dict()) and prune.is_pruned(mine)
    mine(flambeau.ones(2, 6)).sum().backward()
    theirs(torch.ones(2, 6)).sum().backward()
    np.testing.assert_array_equal(mine.weight_orig.grad.numpy(), theirs.weight_orig.grad.numpy())
    prune.remove(mine, "weight")
    other.remove(theirs, "weight")
    assert sorted(mine.state_dict()) == sorted(theirs.state_dict()) and not prune.is_pruned(mine)
    np.testing.assert_array_equal(mine.weight.detach().numpy(), theirs.weight.detach().numpy())


def test_pruning_at_random_and_over_several_modules():
    modules = [flambeau.nn.Linear(6, 4), flambeau.nn.Linear(4, 2)]
    prune.global_unstructured([(m, "weight") for m in modules], prune.L1Unstructured, amount=10)
    assert sum(int((m.weight == 0).sum()) for m in modules) == 10
    module = prune.random_structured(flambeau.nn.Linear(6, 4), "weight", 2, 0)
    assert int((module.weight == 0).all(1).sum()) == 2
    assert int((prune.random_unstructured(flambeau.nn.Linear(6, 4), "weight", 5).weight == 0).sum()) == 5
    with pytest.raises(ValueError, match="smaller"):
        prune.l1_unstructured(flambeau.nn.Linear(2, 2), "weight", 9)
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.remove(flambeau.nn.Linear(2, 2), "weight")
    with pytest.raises(TypeError, match="amount"):
        prune.L1Unstructured("x")
