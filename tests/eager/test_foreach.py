"""Operators over lists of tensors against torch's, eager and compiled."""

import pytest

import flambeau
from eager.ops.foreach import BINARY, UNARY

torch = pytest.importorskip("torch")


def lists(t):
    return [(t.arange(n).float() * 0.3 + 0.4).reshape(shape) for n, shape in ((3, (3,)), (4, (2, 2)), (1, ()))]


def values(found):
    return [x.tolist() for x in found]


def same(name, *arguments, **given):
    """The list operator and its in-place form on copies, in both libraries. `arguments` are made by functions of the library."""
    results = []
    for t in (flambeau, torch):
        others = [a(t) if callable(a) else a for a in arguments]
        out = getattr(t, f"_foreach_{name}")(lists(t), *others, **given)
        target = lists(t)
        written = getattr(t, f"_foreach_{name}_")(target, *others, **given)
        assert written is None or all(one is other for one, other in zip(written, target))
        results.append((values(out), values(target)))
    for mine, theirs in zip(*results):
        for one, other in zip(mine, theirs):
            assert torch.allclose(torch.tensor(one), torch.tensor(other), atol=1e-6, equal_nan=True), name


@pytest.mark.parametrize("name", UNARY)
def test_of_one_list(name):
    same(name)


@pytest.mark.parametrize("name", [*BINARY, "add", "sub"])
def test_of_a_list_and_another_or_a_number(name):
    same(name, lists)
    same(name, 0.7)
    same(name, [0.5, 2.0, 3.0])


def test_of_several():
    same("add", lists, alpha=3)
    same("addcmul", lists, lists, 0.5)
    same("addcdiv", lists, lists, [0.5, 1.0, 2.0])
    same("lerp", lists, 0.3)
    assert values(flambeau._foreach_norm(lists(flambeau))) == pytest.approx(values(torch._foreach_norm(lists(torch))))
    target = lists(flambeau)
    flambeau._foreach_copy_(target, [x * 2 for x in lists(flambeau)])
    assert values(target) == values(x * 2 for x in lists(flambeau))
    flambeau._foreach_zero_(target)
    assert all((x == 0).all() for x in target)


def test_lists_of_other_lengths_are_refused():
    with pytest.raises(RuntimeError, match="same number of tensors, got 3 and 2"):
        flambeau._foreach_add(lists(flambeau), lists(flambeau)[:2])
    with pytest.raises(RuntimeError, match="at least one tensor"):
        flambeau._foreach_mul([], 2.0)


def test_compiled():
    def step(parameters, gradients, momenta):
        flambeau._foreach_mul_(momenta, 0.9)
        flambeau._foreach_add_(momenta, gradients)
        flambeau._foreach_add_(parameters, momenta, alpha=-0.1)
        return parameters

    eager, compiled = [[lists(flambeau) for _ in range(3)] for _ in range(2)]
    step(*eager)
    flambeau.compile(step, fullgraph=True)(*compiled)
    for one, other in zip(sum(eager, []), sum(compiled, [])):
        assert flambeau.allclose(one, other)
