"""Containers as Python lists and dicts."""

from collections import OrderedDict

import pytest

from eager import nn
from eager.construct import tensor
from eager.registry import ops


def test_sequential():
    net = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.ReLU(), c=nn.Linear(3, 1)))
    assert net(ops.ones((4, 2))).shape == (4, 1)
    assert net.a is net[0] and net[-1] is net.c and isinstance(net[:2], nn.Sequential)
    assert list(net[1:]._modules) == ["b", "c"]
    with pytest.raises(IndexError, match="out of range"):
        net[3]
    plain = nn.Sequential(nn.ReLU(), nn.Tanh())
    plain.append(nn.Sigmoid()).insert(1, nn.GELU())
    assert [type(m).__name__ for m in plain] == ["ReLU", "GELU", "Tanh", "Sigmoid"]
    del plain[0]
    assert list(plain._modules) == ["0", "1", "2"]
    assert len(plain + nn.Sequential(nn.ReLU())) == 4 and len(plain * 2) == 6
    assert isinstance(plain.pop(0), nn.GELU) and len(plain) == 2
    with pytest.raises(TypeError, match="is not a Module subclass"):
        nn.Sequential(3)


def test_module_list():
    layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    layers.append(nn.ReLU())
    layers += [nn.Tanh()]
    layers.insert(0, nn.GELU())
    assert (
        len(layers) == 6 and isinstance(layers[0], nn.GELU) and len(list(layers.parameters())) == 6
    )
    assert isinstance(layers[1:3], nn.ModuleList) and len(layers[1:3]) == 2
    del layers[0]
    assert list(layers._modules) == ["0", "1", "2", "3", "4"]
    assert isinstance(layers.pop(-1), nn.Tanh)
    with pytest.raises(TypeError, match="iterable"):
        layers.extend(3)
    with pytest.raises(NotImplementedError):
        layers(1)


def test_module_dict():
    parts = nn.ModuleDict({"a": nn.Linear(1, 1)})
    parts["b"] = nn.ReLU()
    parts.update([("c", nn.Tanh())])
    assert list(parts) == ["a", "b", "c"] and "b" in parts and len(parts) == 3
    assert isinstance(parts.pop("c"), nn.Tanh)
    del parts["b"]
    assert [k for k, _ in parts.items()] == ["a"]
    parts.clear()
    assert len(parts) == 0


def test_parameter_list_and_dict():
    numbers = nn.ParameterList([tensor([1.0]), nn.Parameter(tensor([2.0])), "a note"])
    assert [n for n, _ in numbers.named_parameters()] == ["0", "1"]
    numbers.append(tensor([3.0]))
    assert numbers[-1].requires_grad and len(numbers[1:3]) == 2 and numbers.pop().item() == 3
    assert "Parameter containing: [torch.float32 of size 1]" in repr(numbers)
    named = nn.ParameterDict({"x": tensor([1.0])})
    named["y"] = nn.Parameter(tensor([[2.0]]))
    assert sorted(dict(named.named_parameters())) == ["x", "y"] and named.get("z") is None
    assert "(y): Parameter containing: [torch.float32 of size 1x1]" in repr(named)
    assert list((named | {"z": tensor([0.0])}).keys()) == ["x", "y", "z"]
    del named["x"]
    assert len(named) == 1 and list(named.state_dict()) == ["y"]
