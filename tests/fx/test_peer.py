"""The same programs traced by torch.fx and here give the same nodes, names and arguments."""

import pytest

import fx
from eager import nn as own_nn
from eager.registry import ops
from fx.interpreter import Interpreter
from fx.tracer import symbolic_trace

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def arithmetic(m):
    def f(x, y, scale=2.0):
        z = m.add(x, y) * scale + 1
        z = (z - x) / (2 - y) ** 2 @ -y
        return z, {"a": [abs(z), z[0, 1:, None, ...]]}, (~z, z == x, 3 // z, z % 2)

    return f


def methods(m):
    def f(x, axis=1):
        a, b = x.view(x.size(0), -1).split(2, dim=axis)
        c = m.relu(a).relu_() + b.T.contiguous()
        return m.cat([c, m.sum(c, dim=0), *[m.neg(c)] * 2], 0)

    return f


def names(m):
    def f(input, lambda_, len, add_1):
        add = m.add(input, lambda_)
        return add + add_1 + len

    return f


@pytest.mark.parametrize("program", [arithmetic, methods, names])
def test_functions(program):
    ours, theirs = symbolic_trace(program(ops)), torch.fx.symbolic_trace(program(torch))
    assert described(ours) == described(theirs)


def net(nn):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 2, 3)
            self.layers = nn.Sequential(nn.ReLU(), nn.Linear(4, 4))
            self.weight = nn.Parameter(nn.Linear(4, 4).weight.data)

        def forward(self, x):
            x = self.layers(self.conv1(x))
            return self.layers[1](x) * self.weight + self.weight.sum()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Block(), Block()])

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    return Net()


def test_modules():
    ours, theirs = symbolic_trace(net(own_nn)), torch.fx.symbolic_trace(net(torch.nn))
    assert described(ours) == described(theirs)
    assert set(ours.state_dict()) == set(theirs.state_dict())


def described(module):
    found = []
    for node in module.graph.nodes:
        target = node.target if isinstance(node.target, str) else node.target.__name__
        users = [user.name for user in node.users]
        found.append((node.op, node.name, target, str(node.args), str(node.kwargs), users))
    return found


INTERNAL = {
    # pytrees, custom code generators, hooks, symbolic sizes of torch: not here
    "process_inputs", "process_outputs", "on_generate_code", "set_codegen", "to_folder", "sort",
    "normalized_arguments", "hash_target", "check_mutable_operations", "trace_asserts", "scope",
    "proxy_buffer_attributes", "param_shapes_constant", "traced_func_name", "get_fresh_qualname",
    "node_name_to_scope", "submodule_paths", "node_name_to_original_name", "create_size_node",
    "create_stride_node", "create_storage_offset_node", "materialize_symint",
    "materialize_symints", "fetch_args_kwargs_from_env", "extra_traceback", "user_to_last_uses",
    "submodules", "name", "num_calls", "root_module_name",
}  # fmt: skip


def test_public_names():
    ours, theirs = symbolic_trace(lambda s, x: s), torch.fx.symbolic_trace(lambda s, x: s)
    pairs = [
        (ours.graph, theirs.graph),
        (ours.graph.output_node(), next(reversed(theirs.graph.nodes))),
        (Interpreter(ours), torch.fx.Interpreter(theirs)),
        (fx.Transformer(ours), torch.fx.Transformer(theirs)),
        (fx.Tracer(), torch.fx.Tracer()),
        (ours, theirs),
    ]
    for own, peer in pairs:
        wanted = vars(type(peer)) if own is ours else dir(peer)
        missing = {n for n in wanted if not n.startswith("_") and not hasattr(own, n)}
        assert missing <= INTERNAL, type(own)
