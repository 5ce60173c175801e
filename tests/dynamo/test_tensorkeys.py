"""Containers from outside whose keys are tensors: what a call puts in, the next one finds."""

from collections import defaultdict

import pytest

from dynamo.frame import optimize
from eager.construct import tensor
from eager.nn.linear import Linear
from eager.optim.adam import Adam
from eager.optim.sgd import SGD
from eager.registry import ops


class Memory:
    def __init__(self):
        self.states, self.seen, self.kept = defaultdict(dict), set(), {}

    def state(self, x):
        state = self.states[x]
        first = state.get("sum") is None
        if first:
            state["sum"] = ops.zeros(2)
        state["sum"].add_(x)
        return state["sum"] * (1 if first else 100)

    def once(self, x):
        if x in self.seen:
            return x * 100
        self.seen.add(x)
        return x * 1

    def keep(self, x):
        self.kept[x] = x * 2
        return x + len(self.kept)

    def pairs(self, x):
        if (x, 1) in self.kept:
            return x * 100
        self.kept[x, 1] = 0
        return x * 1

    def walked(self, x):
        self.kept.setdefault(x, len(self.kept))
        return x * self.kept[x]

    def inside(self, x):
        table = {x: 3, x + 1: 4}
        return x * table[x] * len(table)


@pytest.mark.parametrize("name", ["state", "once", "keep", "pairs", "walked", "inside"])
def test_the_next_call_finds_what_was_put_in(name):
    eager, compiled = Memory(), Memory()
    run = optimize("eager")(getattr(compiled, name))
    first, second = tensor([1.0, 2.0]), tensor([1.0, 2.0])
    for x in (first, first, second, first):
        assert run(x).tolist() == getattr(eager, name)(x).tolist()


@pytest.mark.parametrize("make", [
    lambda p: SGD(p, 0.01), lambda p: SGD(p, 0.01, momentum=0.9), lambda p: Adam(p, 0.01),
], ids=["sgd", "momentum", "adam"])
def test_compiled_steps_of_optimizers(make):
    def train(wrap):
        layer = Linear(2, 1)
        layer.weight.data.fill_(0.5)
        layer.bias.data.fill_(0.1)
        optimizer = make(layer.parameters())
        step = wrap(optimizer.step)
        for number in range(4):
            optimizer.zero_grad()
            layer(tensor([[1.0, 2.0]]) * (number + 1)).sum().backward()
            step()
        return layer.weight.tolist()

    assert train(optimize("eager")) == train(lambda step: step)
