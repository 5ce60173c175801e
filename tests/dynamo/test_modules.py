"""nn.Module programs: parameters as graph inputs, submodules, containers, hooks, buffers, training mode, gradients."""

import pytest

from dynamo.frame import optimize, reset
from dynamo.testing import assert_same, program
from eager import autograd
from eager.construct import tensor
from eager.nn import functional as F
from eager.nn.container import ModuleList, Sequential
from eager.nn.linear import Linear
from eager.nn.module import Module
from eager.nn.parameter import Parameter


class Net(Module):
    def __init__(self):
        super().__init__()
        self.first = Linear(3, 4)
        self.layers = ModuleList([Linear(4, 4) for _ in range(2)])
        self.head = Sequential(Linear(4, 2), Linear(2, 1))
        self.scale = Parameter(tensor([2.0]))
        self.register_buffer("calls", tensor([0.0]))
        self.count = 0
        self.config = {"skip": True}

    def forward(self, x, *, double=False):
        x = F.relu(self.first(x))
        for index, layer in enumerate(self.layers):
            y = layer(x) * (index + 1)
            x = x + y if self.config["skip"] else y
        if self.training:
            x = x * 2
        if double:
            x = x * 2
        return self.head(x) * self.scale


def fresh(kind=Net):
    module = kind()
    for number, parameter in enumerate(module.parameters()):
        with autograd.no_grad():
            parameter.copy_(parameter * 0 + 0.1 * (number + 1))
    return module


def batch():
    return tensor([[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]])


@program(lambda: (fresh(), batch()))
def test_forward(net, x):
    return net(x)


@program(lambda: (fresh().eval(), batch()))
def test_eval_and_keyword(net, x):
    return net(x, double=True), net.training


def test_module_as_root():
    reset()
    net = fresh()
    optimized = optimize("eager")
    compiled = optimized(net)
    assert_same(net(batch()), compiled(batch()), "result")
    (_, record), *_ = optimized.callback.log.captured
    assert len(record.graphs) == 1


def test_training_mode_recompiles():
    reset()
    net = fresh()
    optimized = optimize("eager")

    def run(x):
        return net(x)

    compiled = optimized(run)
    for mode in (True, False, True):
        net.train(mode)
        assert_same(net(batch()), compiled(batch()), "result")
    assert len(optimized.callback.log.captured) == 2


def test_gradients():
    reset()
    x = batch()
    a, b = fresh(), fresh()
    optimized = optimize("eager", fullgraph=True)

    def loss(net, x):
        return (net(x) ** 2).sum()

    loss(a, x).backward()
    optimized(loss)(b, x).backward()
    for one, other in zip(a.parameters(), b.parameters(), strict=True):
        assert one.grad is not None
        assert_same(one.grad, other.grad, "grad")


class Counting(Module):
    def __init__(self):
        super().__init__()
        self.count = 0
        self.register_buffer("mean", tensor([0.0, 0.0, 0.0]))
        self.seen = []

    def forward(self, x):
        self.count += 1
        self.mean = self.mean * 0.9 + x.mean(0) * 0.1
        self.mean.add_(1)
        self.seen.append(x.shape[0])
        return x - self.mean


@program(lambda: (Counting(), batch()))
def test_module_state_is_written_back(net, x):
    return net(x), net(x), net.count


class Hooked(Module):
    def __init__(self):
        super().__init__()
        self.inner = Linear(3, 2)
        self.log = []
        self.inner.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
        self.inner.register_forward_hook(self.after)

    def after(self, module, args, result):
        self.log.append(args[0].shape)
        return result + 1

    def forward(self, x):
        return self.inner(x)


@program(lambda: (fresh(Hooked), batch()), again=False)
def test_hooks(net, x):
    return net(x), net.log


class Walks(Module):
    def __init__(self):
        super().__init__()
        self.a = Linear(3, 3)
        self.b = Linear(3, 3, bias=False)

    def forward(self, x):
        names = [name for name, _ in self.named_parameters()]
        total = sum(p.sum() for p in self.parameters())
        for name, child in self.named_children():
            x = child(x)
            names.append(name)
        return x + total, names, len(list(self.modules())), hasattr(self, "c"), "a" in self._modules


@program(lambda: (fresh(Walks), batch()))
def test_walking_the_tree(net, x):
    return net(x)


class Breaking(Module):
    def __init__(self):
        super().__init__()
        self.a = Linear(3, 3)
        self.b = Linear(3, 3)

    def forward(self, x):
        x = self.a(x)
        print("between", self.training)
        return self.b(x)


@program(lambda: (fresh(Breaking), batch()), graphs=None, breaks=None)
def test_break_inside_submodule(net, x):
    return net(x * 2) + 1


def test_missing_parameter_is_an_error():
    reset()
    net = fresh()

    def run(x):
        return net(x) + net.missing

    with pytest.raises(AttributeError, match="missing"):
        optimize("eager")(run)(batch())


@program(lambda: (fresh(), batch()))
def test_parameter_is_not_copied(net, x):
    return net(x), net.scale is net._parameters["scale"], net.scale


def _whole(backend="eager"):
    import flambeau as torch

    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    return torch, model, torch.compile(model, backend=backend)


def test_pickling_and_copying_a_compiled_module():
    import copy
    import pickle

    torch, model, compiled = _whole()
    x = torch.ones(2, 4)
    wanted = compiled(x).tolist()
    for again in (pickle.loads(pickle.dumps(compiled)), copy.deepcopy(compiled)):
        assert type(again) is type(compiled) and again(x).tolist() == wanted
        again._orig_mod[0].weight.data.zero_()
        again._orig_mod[0].bias.data.fill_(2.0)
        assert again(x).tolist() == [[2.0] * 3] * 2
    assert compiled(x).tolist() == wanted


def test_compiling_a_module_in_place():
    torch, model, _ = _whole()
    seen = []

    def backend(module, inputs):
        seen.append(module)
        return module.forward

    x = torch.ones(2, 4)
    wanted = model(x).tolist()
    assert model.compile(backend=backend) is None
    assert model(x).tolist() == wanted and len(seen) == 1
    model[0].bias.data.fill_(100.0)
    assert model(x).tolist() != wanted and len(seen) == 1


def test_threads_call_one_compiled_function():
    import threading

    torch, _, _ = _whole()
    compiled = torch.compile(lambda a: (a * 2 + 1).sum(), backend="eager")
    found = []

    def call():
        found.append([compiled(torch.ones(n)).item() for n in range(1, 6)])

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[3.0 * n for n in range(1, 6)]] * 4


def test_globals_of_a_module_that_left_sys_modules(monkeypatch):
    """An alias takes the modules that were imported under it with it; what they hold stays guarded."""
    import sys
    import types

    other = types.ModuleType("elsewhere")
    other.__file__ = "/somewhere/elsewhere.py"
    exec("scale = [2.0]\ndef scaled(x):\n    return x * scale[0]\n", vars(other))
    monkeypatch.setitem(sys.modules, "elsewhere", other)
    reset()
    calls = []

    def backend(module, inputs):
        calls.append(module)
        return module

    call = optimize(backend)(lambda x: other.scaled(x))
    x = tensor([3.0])
    assert call(x).item() == 6.0
    monkeypatch.delitem(sys.modules, "elsewhere")
    assert call(x).item() == 6.0
    assert len(calls) == 1
    other.scale[0] = 4.0
    assert call(x).item() == 12.0
    assert len(calls) == 2
