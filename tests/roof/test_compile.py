"""`compile` and `explain`: arguments, backends by name, what is shared with the module, counts."""

import pytest

import flambeau as torch
from flambeau import nn


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_backends_agree_with_eager(backend):
    eager, x = model(), torch.randn(3, 4)
    expected = eager(x)
    expected.sum().backward()
    gradient = eager[0].weight.grad.clone()
    eager.zero_grad()
    found = torch.compile(eager, backend=backend, fullgraph=True)(x)
    found.sum().backward()
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(eager[0].weight.grad, gradient, atol=1e-6)
    assert torch.compiler.counts() == {
        "calls_captured": 3, "unique_graphs": 1, "graph_breaks": 0, "unique_graph_breaks": 0,
    }  # fmt: skip


def test_a_callable_is_a_backend():
    seen = []

    def backend(graph_module, example_inputs):
        seen.append(len(example_inputs))
        return graph_module.forward

    f = torch.compile(lambda x: torch.sin(x) + 1, backend=backend)
    x = torch.ones(2)
    assert torch.equal(f(x), torch.sin(x) + 1) and f(x) is not None
    assert seen == [1]


def test_decorator_forms():
    @torch.compile(backend="eager")
    def f(x):
        return x * 2

    @torch.compile
    def g(x):
        return x * 3

    assert f(torch.ones(1)).item() == 2 and g(torch.ones(1)).item() == 3
    assert f.__name__ == "f"


def test_disabled():
    def f(x):
        return x

    assert torch.compile(f, disable=True) is f


def test_compiled_module_shares_everything():
    eager = model()
    compiled = torch.compile(eager, backend="eager")
    assert isinstance(compiled, nn.Module) and compiled._orig_mod is eager
    assert compiled[0] is eager[0] if hasattr(type(compiled), "__getitem__") else True
    assert {id(p) for p in compiled.parameters()} == {id(p) for p in eager.parameters()}
    compiled.eval()
    assert not eager.training
    compiled.train()
    assert eager.training and eager[1].training


def test_errors():
    with pytest.raises(RuntimeError, match="[Ii]nvalid backend.*'none'"):
        torch.compile(model(), backend="none")
    with pytest.raises(RuntimeError, match="Unrecognized mode"):
        torch.compile(model(), mode="fast")
    with pytest.raises(RuntimeError, match="mode or options"):
        torch.compile(model(), mode="default", options={})
    with pytest.raises(TypeError, match="needs a module or a function"):
        torch.compile(3)
    assert {"eager", "aot_eager", "inductor"} <= set(torch.compiler.list_backends())


def test_options():
    with pytest.raises(RuntimeError, match="option depth.*debug"):
        torch.compile(lambda x: x + 1, options={"depth": 3})
    with pytest.raises(RuntimeError, match="option debug.*none"):
        torch.compile(lambda x: x + 1, backend="eager", options={"debug": True})


def test_debug_runs_kernels_as_python(monkeypatch):
    """Templates are native all the same."""
    from inductor.codegen import build

    compiled: list = []
    monkeypatch.setattr(build, "kernel", lambda text, cache: compiled.append(text))
    network, x = model(), torch.randn(3, 4)
    found = torch.compile(network, options={"debug": True})(x)
    found.sum().backward()
    assert torch.allclose(found, network(x), atol=1e-6)
    assert compiled == []


def test_eager_errors_are_the_compiled_ones():
    def f(x, y):
        return x @ y

    with pytest.raises(RuntimeError) as eager:
        f(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(RuntimeError) as compiled:
        torch.compile(f)(torch.ones(2, 3), torch.ones(2, 3))
    assert type(eager.value) is type(compiled.value)


def test_index_out_of_range_raises_compiled_too():
    table = nn.Embedding(4, 2)
    look = torch.compile(table)
    assert look(torch.tensor([3])).shape == (1, 2)
    with pytest.raises(IndexError):
        table(torch.tensor([4]))
    with pytest.raises(IndexError):
        look(torch.tensor([4]))


def test_explain_names_the_break(capsys):
    def f(x):
        y = torch.relu(x)
        print("here")
        return y + 1

    explanation = torch.explain(f)(torch.ones(2))
    assert explanation.graph_break_count == 1 and "print" in str(explanation)
    assert __file__ in str(explanation)
    capsys.readouterr()


def test_is_compiling_is_true_within():
    def f(x):
        return x + 1 if torch.compiler.is_compiling() else x - 1

    assert f(torch.ones(1)).item() == 0
    assert torch.compile(f, backend="eager")(torch.ones(1)).item() == 2
