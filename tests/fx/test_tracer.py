"""symbolic_trace: what becomes a node, what is entered, what raises."""

import builtins
import math
import threading

import pytest

from eager import nn
from eager.construct import tensor
from eager.registry import ops
from fx.proxy import TraceError
from fx.tracer import Tracer, symbolic_trace, wrap


def body(module):
    """The lines of a module's program."""
    text = module.graph.python_code(verbose=True).src
    return [line.partition("  #")[0].strip() for line in text.splitlines()]


def test_operators_functions_methods_and_attributes():
    def f(x, y):
        a = ops.add(x, y) + 1
        b = 2 - a[0, 1:]
        c = b.view(x.shape[0], -1).relu()
        return (-c, {"a": a, "b": [ops.sum(c, dim=1)]}, x.T)

    assert body(symbolic_trace(f)) == [
        "def forward(self, x, y):",
        "add = ops.add(x, y)",
        "add_1 = add + 1",
        "getitem = add_1[0, 1:]",
        "sub = 2 - getitem",
        "getattr_1 = x.shape",
        "getitem_1 = getattr_1[0]",
        "view = sub.view(getitem_1, -1)",
        "relu = view.relu()",
        "neg = -relu",
        "sum_1 = ops.sum(relu, dim=1)",
        "getattr_2 = x.T",
        "return (neg, {'a': add_1, 'b': [sum_1]}, getattr_2)",
    ]


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(tensor([2.0]))
        self.register_buffer("shift", tensor([1.0]))

    def forward(self, x):
        return x * self.scale + self.shift + self.scale.neg()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), Inner())

    def forward(self, x):
        return self.layers(x)


def test_own_modules_are_leaves_and_others_are_entered():
    net = Net()
    module = symbolic_trace(net)
    assert body(module) == [
        "def forward(self, x):",
        'layers_0 = getattr(self.layers, "0")(x)',
        'layers_1 = getattr(self.layers, "1")(layers_0)',
        'layers_2_scale = getattr(self.layers, "2").scale',
        "mul = layers_1 * layers_2_scale",
        'layers_2_shift = getattr(self.layers, "2").shift',
        "add = mul + layers_2_shift",
        "neg = layers_2_scale.neg()",
        "add_1 = add + neg",
        "return add_1",
    ]
    x = tensor([[1.0, -2.0]])
    assert module(x).tolist() == net(x).tolist()
    stack = module.graph.find_nodes(op="call_method")[0].meta["nn_module_stack"]
    assert list(stack) == ["layers", "layers.2"]


def test_a_tracer_may_choose_its_leaves():
    class Whole(Tracer):
        def is_leaf_module(self, m, module_qualified_name):
            return isinstance(m, Inner) or super().is_leaf_module(m, module_qualified_name)

    tracer = Whole()
    graph = tracer.trace(Net())
    assert [n.target for n in graph.find_nodes(op="call_module")] == [
        "layers.0",
        "layers.1",
        "layers.2",
    ]
    assert tracer.path_of_module(tracer.root.layers[2]) == "layers.2"


def test_unknown_modules_and_parameters_are_refused():
    lost = nn.Linear(1, 1)
    with pytest.raises(NameError, match="Linear is not installed as a submodule.*test_tracer.py"):
        symbolic_trace(lambda x: lost(x))
    with pytest.raises(NameError, match="not a member of the traced module"):
        symbolic_trace(lambda x: x + lost.weight)


def test_constants_are_kept():
    constant = tensor([1.0, 2.0])
    module = symbolic_trace(lambda x: x + constant + ops.neg(constant))
    assert [n.target for n in module.graph.find_nodes(op="get_attr")] == [
        "_tensor_constant0",
        "_tensor_constant1",  # neg of a constant was computed while tracing
    ]
    assert module(tensor([5.0, 5.0])).tolist() == [5.0, 5.0]


def test_control_flow_names_the_users_line():
    def f(x):
        if x > 0:  # decides
            return x
        return -x

    with pytest.raises(TraceError, match=r"control flow.*test_tracer.py:\d+ in f: 'if x > 0:"):
        symbolic_trace(f)

    def g(x):
        return [item for item in x]

    with pytest.raises(TraceError, match="iteration"):
        symbolic_trace(g)
    with pytest.raises(RuntimeError, match="'len' is not supported.*wrap"):
        symbolic_trace(lambda x: builtins.len(x))
    with pytest.raises(TraceError, match="index or a range"):
        symbolic_trace(lambda x: list(range(x)))
    with pytest.raises(TraceError, match="`in`"):
        symbolic_trace(lambda x: 1 in x)
    with pytest.raises(TypeError, match="item assignment"):
        exec("def h(x):\n    x[0] = 1\nsymbolic_trace(h)", {"symbolic_trace": symbolic_trace})


def test_unpacking_is_recorded():
    def f(x):
        a, b = x.split(2)
        return a + b

    assert body(symbolic_trace(f))[1:4] == [
        "split = x.split(2)",
        "getitem = split[0]",
        "getitem_1 = split[1]",
    ]


def test_concrete_arguments():
    def f(x, flag, scale=2):
        return x * scale if flag else x

    module = symbolic_trace(f, concrete_args={"flag": True})
    assert "mul = x * scale" in body(module)
    assert module(tensor([1.0]), True, 3).tolist() == [3.0]
    assert module(tensor([1.0]), True).tolist() == [2.0]
    with pytest.raises(AssertionError, match="flag has been specialized to have value True"):
        module(tensor([1.0]), False)


def test_stars():
    def f(x, *args, y=1, **kwargs):
        return x + args[0] + kwargs["k"] + y

    module = symbolic_trace(f)
    assert body(module)[0] == "def forward(self, x, *args, y=1, **kwargs):"
    assert module(tensor([1.0]), 2, y=3, k=4).tolist() == [10.0]

    def g(x, *, y):
        return x + y

    assert symbolic_trace(g)(tensor([1.0]), y=2).tolist() == [3.0]


@wrap
def opaque(x, n):
    return x * n if n > 1 else x


wrap("len")


def test_wrapped_functions_and_math():
    module = symbolic_trace(lambda x: opaque(x, 2) + len(x) + math.sqrt(x[0]))
    names = [n.target for n in module.graph.find_nodes(op="call_function")]
    assert len in names and math.sqrt in names and opaque in names
    assert module(tensor([4.0, 1.0])).tolist() == [12.0, 6.0]
    assert len([1]) == 1 and "len" not in globals()
    with pytest.raises(NotImplementedError, match="top level"):
        wrap("len")
    with pytest.raises(RuntimeError, match="expected a global function"):
        wrap(3)


def test_tracing_leaves_everything_as_it_was():
    before = nn.Module.__call__, nn.Module.__getattr__, math.sqrt
    with pytest.raises(TraceError):
        symbolic_trace(lambda x: bool(x))
    assert (nn.Module.__call__, nn.Module.__getattr__, math.sqrt) == before
    assert ops.neg(tensor([1.0])).tolist() == [-1.0]


def test_other_threads_do_not_notice():
    results = []

    def f(x):
        worker = threading.Thread(target=lambda: results.append(nn.ReLU()(tensor([-1.0])).tolist()))
        worker.start()
        worker.join()
        return x + 1

    symbolic_trace(f)
    assert results == [[0.0]]


def test_the_users_line_is_in_the_text():
    def f(x):
        return x + 1  # here

    module = symbolic_trace(f)
    assert "return x + 1  # here" in str(module.graph)
    frames = module.graph.find_nodes(op="call_function")[0].meta["stack"]
    assert [(file == __file__, function) for file, _, function in frames] == [(True, "f")]


def test_what_cannot_be_an_argument():
    with pytest.raises(NotImplementedError, match="argument of type object cannot be recorded"):
        symbolic_trace(lambda x: x.to(object()))
    with pytest.raises(RuntimeError, match="cannot be a dict key"):
        symbolic_trace(lambda x: x.f({x: 1}))
