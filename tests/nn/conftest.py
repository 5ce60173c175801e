"""Fixtures that run one function in both libraries and compare what comes out, gradients too."""

import warnings

import numpy as np
import pytest

import eager  # noqa: F401
from eager import nn
from eager.construct import from_numpy
from eager.nn import functional
from eager.registry import ops


class Ours:
    """flambeau's side: operators by name, `nn`, `F`, and tensors over arrays."""

    nn, F = nn, functional

    def __getattr__(self, name):
        return getattr(ops, name)

    @staticmethod
    def tensor(array):
        return from_numpy(array.copy())


class Theirs:
    """torch's side."""

    def __init__(self, torch):
        self.torch, self.nn, self.F = torch, torch.nn, torch.nn.functional

    def __getattr__(self, name):
        return getattr(self.torch, name)

    def tensor(self, array):
        return self.torch.from_numpy(array.copy())


def _outputs(result):
    return result if isinstance(result, (tuple, list)) else (result,)


def _run(library, function, arrays):
    tensors = [library.tensor(a) if isinstance(a, np.ndarray) else a for a in arrays]
    leaves = [
        t for t, a in zip(tensors, arrays) if isinstance(a, np.ndarray) and a.dtype.kind == "f"
    ]
    for leaf in leaves:
        leaf.requires_grad_()
    outputs = _outputs(function(library, *tensors))
    found = [output.detach().numpy() for output in outputs]
    loss = None
    for i, output in enumerate(outputs):
        if not output.requires_grad:
            continue
        numbers = np.linspace(-1 + i, 1, max(output.numel(), 1)).astype(found[i].dtype)
        weights = library.tensor(numbers[: output.numel()].reshape(found[i].shape))
        part = (output * weights).sum()
        loss = part if loss is None else loss + part
    if loss is None:
        return found, []
    loss.backward()
    return found, [None if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]


@pytest.fixture
def compare():
    """compare(function, *arrays): `function(library, *tensors)` gives the same in both."""
    torch = pytest.importorskip("torch")

    def check(function, *arrays, tolerance=None):
        ours, our_grads = _run(Ours(), function, arrays)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs, their_grads = _run(Theirs(torch), function, arrays)
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs):
            assert mine.shape == other.shape and mine.dtype == other.dtype
            single = mine.dtype == np.float32
            limit = tolerance or (2e-5 if single else 1e-9)
            np.testing.assert_allclose(mine, other, rtol=limit, atol=limit)
        for i, (mine, other) in enumerate(zip(our_grads, their_grads)):
            assert (mine is None) == (other is None), f"gradient {i}"
            if mine is not None:
                limit = tolerance or (1e-4 if mine.dtype == np.float32 else 1e-8)
                np.testing.assert_allclose(
                    mine, other, rtol=limit, atol=limit, err_msg=f"gradient {i}"
                )

    return check


@pytest.fixture
def ours():
    return Ours()


@pytest.fixture
def random():
    """random(*shape, dtype=...): normal numbers, the same in every run."""
    generator = np.random.default_rng(0)

    def make(*shape, dtype=np.float32):
        return generator.standard_normal(shape).astype(dtype)

    return make
