"""What cannot be captured stays: a model with print, a branch on a value, C libraries, try/except and a generator does the same compiled
as eager, and `explain` lists every break with file, line, reason and hint.
"""

import ctypes
import ctypes.util
import json
import linecache
import zlib

import pytest

import flambeau as torch
from flambeau import nn


class Talkative(nn.Module):
    """A model as people write them while they look for a mistake."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 2)
        self.notes = []

    def parts(self, x):
        for scale in (1.0, 0.5, 0.25):
            self.notes.append(scale)
            yield x * scale

    def forward(self, x, table):
        h = torch.relu(self.first(x))
        print("hidden", tuple(h.shape))
        if h.sum().item() > 1.0:
            h = h / h.sum()
            self.notes.append("large")
        else:
            self.notes.append("small")
        self.notes.append(zlib.crc32(json.dumps({"rows": h.shape[0]}).encode()))
        try:
            h = h * table["scale"]
        except KeyError as error:
            self.notes.append(str(error))
            h = h * 2
        finally:
            self.notes.append("tried")
        total = sum(self.parts(h))
        return self.second(total)


def once(model, call, x, table):
    model.notes.clear()
    x = x.clone().requires_grad_()
    model.zero_grad()
    output = call(x, table)
    output.square().sum().backward()
    grads = {name: value.grad.clone() for name, value in model.named_parameters()}
    return output.detach(), x.grad, grads, list(model.notes)


@pytest.mark.parametrize("table", [{}, {"scale": 3.0}], ids=["raises", "found"])
@pytest.mark.parametrize("size", [0.01, 10.0], ids=["small", "large"])
def test_same_results_and_side_effects(backend, same, capsys, table, size):
    torch.manual_seed(0)
    model = Talkative()
    x = torch.randn(3, 4) * size
    expected = once(model, model, x, table)
    printed = capsys.readouterr().out
    assert printed == "hidden (3, 8)\n"
    compiled = torch.compile(model, backend=backend)
    for _ in range(3):
        same(once(model, compiled, x, table), expected)
        assert capsys.readouterr().out == printed


def test_one_compiled_model_takes_both_branches(backend, same, capsys):
    torch.manual_seed(0)
    model = Talkative()
    compiled = torch.compile(model, backend=backend)
    for size in (0.001, 10.0, 0.001, 10.0):
        for table in ({}, {"scale": 0.5}):
            x = torch.randn(3, 4) * size
            same(once(model, compiled, x, table), once(model, model, x, table))
    notes = model.notes
    assert "large" in notes


def test_explain_lists_each_break(capsys):
    torch.manual_seed(0)
    model = Talkative()
    account = torch.explain(model)(torch.randn(3, 4), {})
    assert account.graph_count >= 2
    lines = {line.strip() for line in open(__file__)}
    for broken in account.breaks:
        assert broken.reason and broken.hint
        assert linecache.getline(broken.file, broken.line).strip()
    own = [broken for broken in account.breaks if broken.file == __file__]
    texts = [linecache.getline(broken.file, broken.line).strip() for broken in own]
    assert 'print("hidden", tuple(h.shape))' in texts
    assert "if h.sum().item() > 1.0:" in texts
    assert set(texts) <= lines
    report = str(account)
    for broken in account.breaks:
        assert f"{broken.file}:{broken.line}" in report and broken.hint in report
    assert json.loads(account.to_json())["graph_break_count"] == len(account.breaks)


def test_call_through_ctypes(backend, same):
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    library.cos.restype, library.cos.argtypes = ctypes.c_double, [ctypes.c_double]

    def f(x):
        y = x * 2
        c = library.cos(float(y.sum()))
        return y + c

    x = torch.arange(4.0)
    compiled = torch.compile(f, backend=backend)
    for _ in range(2):
        same(compiled(x), f(x))


def test_call_with_a_buffer(backend, same):
    """A C library reads a tensor's memory between two graphs."""

    def f(x):
        y = x + 1
        checksum = zlib.crc32(y.numpy().tobytes())
        return y * 2, checksum

    x = torch.arange(6.0)
    compiled = torch.compile(f, backend=backend)
    for _ in range(2):
        same(compiled(x), f(x))


def test_sorting_in_c_with_a_python_key(backend, same):
    def f(xs):
        total = sum(xs)
        order = sorted(range(len(xs)), key=lambda i: -float(xs[i].sum()))
        return [xs[i] * total for i in order]

    xs = [torch.tensor([float(i % 3), 1.0]) for i in range(5)]
    compiled = torch.compile(f, backend=backend)
    for _ in range(2):
        same(compiled(xs), f(xs))


def test_exception_raised_in_a_graph_leaves_like_eager(backend):
    class Guarded(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(3, 3)

        def forward(self, x):
            y = self.lin(x)
            if y.isnan().any():
                raise ValueError(f"not a number in {tuple(x.shape)}")
            return y

    model = Guarded()
    compiled = torch.compile(model, backend=backend)
    bad = torch.full((2, 3), float("nan"))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"not a number in \(2, 3\)"):
            compiled(bad)
        compiled(torch.ones(2, 3))


def test_generator_is_handed_out(backend, same):
    def f(x):
        y = x * 2
        return (y + i for i in range(3))

    x = torch.arange(3.0)
    compiled = torch.compile(f, backend=backend)
    for _ in range(2):
        same(list(compiled(x)), list(f(x)))


def test_generator_function_is_compiled(backend, same):
    def f(x):
        for i in range(3):
            x = x * 2 + i
            yield x

    x = torch.arange(3.0)
    compiled = torch.compile(f, backend=backend)
    for _ in range(2):
        same(list(compiled(x)), list(f(x)))


def test_global_and_attribute_side_effects(backend, same):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(2, 2)
            self.calls = 0
            self.last = None

        def forward(self, x):
            self.calls += 1
            self.last = self.lin(x)
            return self.last * self.calls

    torch.manual_seed(0)
    model, x = Counter(), torch.ones(1, 2)
    expected = [model(x) for _ in range(3)]
    model.calls = 0
    compiled = torch.compile(model, backend=backend)
    for want in expected:
        same(compiled(x), want)
    assert model.calls == 3
    same(model.last * 3, expected[-1])
