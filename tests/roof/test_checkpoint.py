"""torch.utils.checkpoint: gradients as without it, little saved, random numbers repeated, defects found."""

import pytest

import flambeau
from flambeau import nn
from flambeau.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def network():
    flambeau.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2))


def gradients(call, needs_input):
    model = network()
    x = flambeau.arange(12.0).reshape(4, 3).sin().requires_grad_(needs_input)
    flambeau.manual_seed(5)
    call(model, x).square().sum().backward()
    return [p.grad for p in model.parameters()] + ([x.grad] if needs_input else [])


@pytest.mark.parametrize("needs_input", [True, False])
@pytest.mark.parametrize("reentrant", [True, False])
def test_gradients_are_those_without(reentrant, needs_input):
    wanted = gradients(lambda model, x: model(x), needs_input)
    for call in (
        lambda model, x: checkpoint(model, x, use_reentrant=reentrant),
        lambda model, x: checkpoint_sequential(model, 2, x, use_reentrant=reentrant),
    ):
        found = gradients(call, needs_input)
        assert all(flambeau.equal(one, other) for one, other in zip(found, wanted))


def test_the_function_runs_once_more_and_keeps_little():
    runs = []

    def count(x):
        runs.append(1)
        return (x * 2).exp().sin()

    x = flambeau.ones(3, requires_grad=True)
    y = checkpoint(count, x, use_reentrant=False)
    assert len(runs) == 1
    (first,) = flambeau.autograd.grad(y.sum(), x, retain_graph=True, create_graph=True)
    assert len(runs) == 2
    x2 = flambeau.ones(3, requires_grad=True)
    plain = (x2 * 2).exp().sin()
    (second,) = flambeau.autograd.grad(plain.sum(), x2, create_graph=True)
    assert flambeau.allclose(first, second)
    assert flambeau.allclose(*(flambeau.autograd.grad(g.sum(), v)[0] for g, v in ((first, x), (second, x2))))


def test_another_second_run_is_an_error():
    state = []

    def changing(x):
        state.append(1)
        return x.exp().sin() if len(state) == 1 else x.exp()

    x = flambeau.ones(3, requires_grad=True)
    with pytest.raises(CheckpointError, match="different number of tensors"):
        checkpoint(changing, x, use_reentrant=False).sum().backward()

    def growing(x):
        state.append(1)
        return (x * flambeau.ones(len(state), 3)).sum(0)

    with pytest.raises(CheckpointError, match="different metadata"):
        checkpoint(growing, x, use_reentrant=False).sum().backward()


def test_contexts_of_both_runs():
    import contextlib

    seen = []

    @contextlib.contextmanager
    def noting(name):
        seen.append(name)
        yield

    x = flambeau.ones(3, requires_grad=True)
    checkpoint(flambeau.exp, x, use_reentrant=False, context_fn=lambda: (noting("first"), noting("second"))).sum().backward()
    assert seen == ["first", "second"]
    with pytest.raises(ValueError, match="use_reentrant=False"):
        checkpoint(flambeau.exp, x, use_reentrant=True, context_fn=lambda: (noting("a"), noting("b")))


@pytest.mark.parametrize("reentrant", [True, False])
def test_compiled_programs_decide_for_themselves(reentrant):
    def program(x):
        return checkpoint(lambda v: v.exp().sin(), x, use_reentrant=reentrant).sum()

    x = flambeau.ones(3, requires_grad=True)
    flambeau.compile(program, fullgraph=True)(x).backward()
    mine, x.grad = x.grad, None
    program(x).backward()
    assert flambeau.allclose(mine, x.grad)
