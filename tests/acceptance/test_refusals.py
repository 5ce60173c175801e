"""Bad input is refused with PyTorch's classes of errors, eager and compiled: wrong shapes and types, missing names, places out of range."""

import pytest

import flambeau as torch
import flambeau.nn.functional as F
from dynamo import frame as frames
from flambeau import nn


class Missing(nn.Module):
    def forward(self, x):
        return self.missing(x)


class Empty(nn.Module):
    pass


def ones(*size, **given):
    return torch.ones(*size, **given)


FAR = torch.tensor([5])
CASES = {
    "shapes": (RuntimeError, lambda a, b: a + b, lambda: (ones(2, 3), ones(4))),
    "product": (RuntimeError, lambda a, b: a @ b, lambda: (ones(2, 3), ones(4, 5))),
    "batches": (RuntimeError, torch.bmm, lambda: (ones(2, 3), ones(2, 3))),
    "linear": (RuntimeError, nn.Linear(3, 2), lambda: (ones(2, 4),)),
    "channels": (RuntimeError, nn.Conv2d(3, 2, 3), lambda: (ones(1, 4, 8, 8),)),
    "joined": (RuntimeError, lambda a, b: torch.cat([a, b]), lambda: (ones(2, 3), ones(2, 4))),
    "view": (RuntimeError, lambda a: a.view(5), lambda: (ones(2, 3),)),
    "negative size": (RuntimeError, lambda a: a.reshape(-2, 3), lambda: (ones(6),)),
    "expanded": (RuntimeError, lambda a: a.expand(4, 5), lambda: (ones(2, 3),)),
    "normalized": (RuntimeError, nn.LayerNorm(3), lambda: (ones(2, 4),)),
    "one sample": (ValueError, nn.BatchNorm1d(3), lambda: (ones(1, 3),)),
    "types": (RuntimeError, lambda a, b: a @ b, lambda: (ones(2, 2), ones(2, 2).double())),
    "integers": (RuntimeError, nn.Linear(3, 2), lambda: (ones(2, 3).long(),)),
    "numbers of rows": (RuntimeError, nn.Embedding(3, 2), lambda: (ones(2),)),
    "condition": (RuntimeError, lambda c, a: torch.where(c, a, a), lambda: (ones(3), ones(3))),
    "mask": (RuntimeError, lambda a, m: a.masked_fill(m, 0.0), lambda: (ones(3), ones(3))),
    "bits": (TypeError, lambda a: ~a, lambda: (ones(3),)),
    "text": (TypeError, lambda a: a + "x", lambda: (ones(3),)),
    "in place shape": (RuntimeError, lambda a, b: a.add_(b), lambda: (ones(2), ones(3, 2))),
    "in place type": (RuntimeError, lambda a, b: a.add_(b), lambda: (ones(2).long(), ones(2))),
    "in place leaf": (RuntimeError, lambda a: a.add_(1), lambda: (ones(3, requires_grad=True),)),
    "row": (IndexError, nn.Embedding(3, 2), lambda: (torch.tensor([0, 3]),)),
    "negative row": (IndexError, nn.Embedding(3, 2), lambda: (torch.tensor([-1]),)),
    "place": (IndexError, lambda a, i: a[i], lambda: (ones(3), FAR)),
    "number": (IndexError, lambda a: a[5], lambda: (ones(3),)),
    "gathered": (RuntimeError, lambda a, i: a.gather(0, i), lambda: (ones(3), FAR)),
    "scattered": (RuntimeError, lambda a, i: a.scatter(0, i, 1.0), lambda: (ones(3), FAR)),
    "selected": (IndexError, lambda a, i: a.index_select(0, i), lambda: (ones(3), FAR)),
    "put": (IndexError, lambda a, i: a.index_put((i,), ones(1)), lambda: (ones(3), FAR)),
    "class": (IndexError, nn.CrossEntropyLoss(), lambda: (ones(2, 3), torch.tensor([0, 5]))),
    "class of nll": (IndexError, F.nll_loss, lambda: (ones(2, 3), torch.tensor([0, 5]))),
    "one hot": (RuntimeError, lambda i: F.one_hot(i, 3), lambda: (FAR,)),
    "dimension": (IndexError, lambda a: a.sum(3), lambda: (ones(3),)),
    "dimension of softmax": (IndexError, lambda a: a.softmax(3), lambda: (ones(3),)),
    "attribute of a tensor": (AttributeError, lambda a: a.nope, lambda: (ones(3),)),
    "attribute of the library": (AttributeError, lambda a: torch.nope, lambda: (ones(3),)),
    "attribute of a module": (AttributeError, Missing(), lambda: (ones(3),)),
    "no forward": (NotImplementedError, Empty(), lambda: (ones(3),)),
    "arguments": (TypeError, lambda a: a, lambda: (ones(3), 1)),
    "several numbers": (RuntimeError, lambda a: a.item(), lambda: (ones(3),)),
    "truth of several": (RuntimeError, lambda a: 1 if a else 0, lambda: (ones(3),)),
}


@pytest.fixture(autouse=True)
def fresh():
    frames.reset()
    yield
    frames.reset()


@pytest.mark.parametrize("backend", [None, "eager", "inductor"])
@pytest.mark.parametrize("name", CASES)
def test_refused(name, backend):
    kind, function, inputs = CASES[name]
    call = function if backend is None else torch.compile(function, backend=backend)
    for _ in range(2):
        arguments = inputs()
        before = [t.tolist() for t in arguments if isinstance(t, torch.Tensor)]
        with pytest.raises(kind) as caught:
            call(*arguments)
        assert caught.type is kind and str(caught.value)
        after = [t.tolist() for t in arguments if isinstance(t, torch.Tensor)]
        assert after == before


def test_unknown_backend_and_mode():
    with pytest.raises(RuntimeError, match="nope"):
        torch.compile(lambda a: a, backend="nope")(ones(2))
    with pytest.raises(RuntimeError, match="nope"):
        torch.compile(lambda a: a, mode="nope")(ones(2))


def test_backward_of_several_numbers():
    compiled = torch.compile(lambda a: a * 2, backend="aot_eager")
    with pytest.raises(RuntimeError, match="scalar outputs"):
        compiled(ones(3, requires_grad=True)).backward()
