"""Bad input gives an exception of PyTorch's class, eager and compiled alike, and never a crash or a write out of bounds."""

import numpy as np
import pytest

import flambeau
from flambeau import nn


def f32(*shape):
    return np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)


def i64(*values):
    return np.array(values, dtype=np.int64)


def assign(x, i):
    y = x + 1
    y[i] = 0
    return y


# name, program(torch, *tensors), inputs
PROGRAMS = [
    ("matmul sizes", lambda t, a, b: t.relu(a) @ b, (f32(2, 3), f32(2, 3))),
    ("broadcast", lambda t, a, b: t.relu(a) + b, (f32(2, 3), f32(2, 4))),
    ("linear sizes", lambda t, a, w: t.nn.functional.linear(t.relu(a), w), (f32(2, 3), f32(4, 5))),
    ("view size", lambda t, a: t.relu(a).view(4, 4), (f32(2, 3),)),
    ("cat sizes", lambda t, a, b: t.cat([t.relu(a), b]), (f32(2, 3), f32(2, 4))),
    ("stack sizes", lambda t, a, b: t.stack([t.relu(a), b]), (f32(2, 3), f32(2, 4))),
    ("dim out of range", lambda t, a: t.relu(a).sum(5), (f32(2, 3),)),
    ("softmax dim", lambda t, a: t.softmax(t.relu(a), 2), (f32(2, 3),)),
    ("transpose dim", lambda t, a: t.relu(a).transpose(0, 4), (f32(2, 3),)),
    ("permute count", lambda t, a: t.relu(a).permute(0, 1, 2), (f32(2, 3),)),
    ("squeeze dim", lambda t, a: t.relu(a).squeeze(3), (f32(2, 3),)),
    ("expand size", lambda t, a: t.relu(a).expand(4, 3), (f32(2, 3),)),
    ("split sizes", lambda t, a: t.relu(a).split([1, 1], 1), (f32(2, 3),)),
    ("convolution channels", lambda t, a, w: t.conv2d(t.relu(a), w), (f32(1, 3, 5, 5), f32(2, 4, 3, 3))),
    ("convolution too small", lambda t, a, w: t.conv2d(t.relu(a), w), (f32(1, 3, 2, 2), f32(2, 3, 3, 3))),
    ("pool too small", lambda t, a: t.nn.functional.max_pool2d(t.relu(a), 4), (f32(1, 1, 2, 2),)),
    ("layer norm shape", lambda t, a: t.nn.functional.layer_norm(t.relu(a), (4,)), (f32(2, 3),)),
    ("batch norm channels", lambda t, a, m, v: t.nn.functional.batch_norm(t.relu(a), m, v), (f32(2, 3, 4), f32(5), f32(5))),
    ("cross entropy rows", lambda t, a, y: t.nn.functional.cross_entropy(t.relu(a), y), (f32(2, 3), i64(0, 1, 2))),
    ("cross entropy class", lambda t, a, y: t.nn.functional.cross_entropy(t.relu(a), y), (f32(2, 3), i64(0, 3))),
    ("loss sizes", lambda t, a, b: t.nn.functional.nll_loss(t.relu(a), b), (f32(2, 3), i64(0, -5))),
    ("embedding index", lambda t, i, w: t.nn.functional.embedding(i, w) * 2, (i64(0, 9), f32(4, 2))),
    ("embedding negative", lambda t, i, w: t.nn.functional.embedding(i, w) * 2, (i64(0, -1), f32(4, 2))),
    ("embedding float index", lambda t, i, w: t.nn.functional.embedding(i, w) * 2, (f32(2), f32(4, 2))),
    ("gather index", lambda t, a, i: t.gather(t.relu(a), 0, i), (f32(3), i64(0, 3))),
    ("gather negative", lambda t, a, i: t.gather(t.relu(a), 0, i), (f32(3), i64(0, -1))),
    ("gather float index", lambda t, a, i: t.gather(t.relu(a), 0, i), (f32(3), f32(2))),
    ("index_select index", lambda t, a, i: t.index_select(t.relu(a), 0, i), (f32(3, 2), i64(0, 3))),
    ("take index", lambda t, a, i: t.take(t.relu(a), i), (f32(3), i64(0, 3))),
    ("getitem number", lambda t, a: t.relu(a)[5], (f32(3),)),
    ("getitem too many", lambda t, a: t.relu(a)[0, 0], (f32(3),)),
    ("getitem tensor", lambda t, a, i: t.relu(a)[i], (f32(3), i64(0, 3))),
    ("getitem tensor low", lambda t, a, i: t.relu(a)[i], (f32(3), i64(0, -4))),
    ("getitem mask", lambda t, a, m: t.relu(a)[m], (f32(3), np.array([True, False]))),
    ("getitem float", lambda t, a: t.relu(a)[1.5], (f32(3),)),
    ("setitem tensor", lambda t, a, i: assign(a, i), (f32(3), i64(0, 3))),
    ("setitem shape", lambda t, a, b: t.relu(a).index_put((t.tensor([0, 1]),), b), (f32(3), f32(3))),
    ("scatter index", lambda t, a, i, s: t.relu(a).scatter(0, i, s), (f32(3), i64(0, 3), f32(2))),
    ("scatter_add index", lambda t, a, i, s: t.relu(a).scatter_add(0, i, s), (f32(3), i64(0, -1), f32(2))),
    ("index_add index", lambda t, a, i, s: t.relu(a).index_add(0, i, s), (f32(3), i64(0, 3), f32(2))),
    ("in place shape", lambda t, a, b: (a + 1).add_(b), (f32(3), f32(2, 3))),
    ("in place dtype", lambda t, a, b: (a + 1).add_(b), (i64(1, 2), f32(2))),
    ("matmul dtypes", lambda t, a, b: (a + 1) @ b, (f32(2, 2), f32(2, 2).astype(np.float64))),
    ("linear dtypes", lambda t, a, b: t.nn.functional.linear(a + 1, b), (f32(2, 2), f32(2, 2).astype(np.float64))),
    ("mean of integers", lambda t, a: (a + 1).mean(), (i64(1, 2),)),
    ("softmax of integers", lambda t, a: t.softmax(a + 1, 0), (i64(1, 2),)),
    ("dropout p", lambda t, a: t.nn.functional.dropout(t.relu(a), 1.5), (f32(3),)),
    ("where sizes", lambda t, a, b: t.where(t.relu(a) > 0, a, b), (f32(3), f32(2))),
    ("bitwise of floats", lambda t, a, b: (a + 1) & b, (f32(3), f32(3))),
    ("minus of bools", lambda t, a, b: (a > 0) - (b > 0), (f32(3), f32(3))),
    ("missing attribute", lambda t, a: t.relu(a).nothing_here, (f32(3),)),
    ("missing function", lambda t, a: t.nothing_here(a), (f32(3),)),
    ("item of many", lambda t, a: t.relu(a).item(), (f32(3),)),
    ("truth of many", lambda t, a: 1 if t.relu(a) else 2, (f32(3),)),
    ("unknown keyword", lambda t, a: t.relu(a).sum(dimension=0), (f32(3),)),
    ("too few arguments", lambda t, a: t.add(t.relu(a)), (f32(3),)),
    ("string operand", lambda t, a: t.relu(a) + "text", (f32(3),)),
    ("None operand", lambda t, a: t.matmul(t.relu(a), None), (f32(3),)),
    ("numpy with gradient", lambda t, a: (a.requires_grad_() * 2).numpy(), (f32(3),)),
    ("gradient of integers", lambda t, a: (a + 1).requires_grad_(), (i64(1, 2),)),
    ("max of nothing", lambda t, a: (a + 1).max(), (f32(0),)),
    ("argmax of nothing", lambda t, a: (a + 1).argmax(), (f32(0),)),
    ("one_hot negative", lambda t, i: t.nn.functional.one_hot(i + 0, 3), (i64(0, -1),)),
    ("topk k", lambda t, a: t.relu(a).topk(5), (f32(3),)),
    ("narrow range", lambda t, a: t.relu(a).narrow(0, 2, 3), (f32(3),)),
    ("select range", lambda t, a: t.relu(a).select(0, 3), (f32(3),)),
    ("chunk zero", lambda t, a: t.relu(a).chunk(0), (f32(3),)),
    ("unfold size", lambda t, a: t.relu(a).unfold(0, 5, 1), (f32(3),)),
    ("reshape two unknown", lambda t, a: t.relu(a).reshape(-1, -1), (f32(2, 3),)),
    ("bmm dims", lambda t, a, b: t.bmm(t.relu(a), b), (f32(2, 3), f32(3, 2))),
    ("mm dims", lambda t, a, b: t.mm(t.relu(a), b), (f32(2, 3, 1), f32(3, 2))),
    ("einsum", lambda t, a, b: t.einsum("ij,jk->ik", t.relu(a), b), (f32(2, 3), f32(2, 3))),
]


def raised(function, torch, arrays):
    """The exception that the program raises, or None."""
    tensors = [torch.from_numpy(array.copy()) for array in arrays]
    try:
        function(torch, *tensors)
    except Exception as error:
        return error
    return None


def kind(error):
    return next(k.__name__ for k in type(error).__mro__ if k.__module__ == "builtins")


@pytest.mark.parametrize("name,function,arrays", PROGRAMS, ids=[p[0] for p in PROGRAMS])
def test_class_is_torchs(name, function, arrays):
    torch = pytest.importorskip("torch")
    theirs, ours = raised(function, torch, arrays), raised(function, flambeau, arrays)
    assert theirs is not None
    assert ours is not None, f"torch raises {theirs!r}"
    assert kind(ours) == kind(theirs), f"{ours!r} where torch raises {theirs!r}"
    assert str(ours).strip()


@pytest.mark.parametrize("name,function,arrays", PROGRAMS, ids=[p[0] for p in PROGRAMS])
def test_compiled_raises_what_eager_raises(backend, name, function, arrays):
    eager = raised(function, flambeau, arrays)
    assert eager is not None
    compiled = flambeau.compile(lambda *tensors: function(flambeau, *tensors), backend=backend)
    for _ in range(2):
        error = raised(lambda _, *tensors: compiled(*tensors), flambeau, arrays)
        assert error is not None, f"eager raises {eager!r}"
        assert kind(error) == kind(eager), f"{error!r} where eager raises {eager!r}"
        assert str(error).strip()


def test_nothing_is_written_beyond_the_tensor(backend):
    """A compiled scatter with an index out of range leaves the memory around its tensor alone."""

    def f(x, index, source):
        x.index_put_((index,), source)
        return x * 2

    whole = flambeau.zeros(64)
    inner = whole[24:40]
    compiled = flambeau.compile(f, backend=backend)
    compiled(inner, flambeau.tensor([0, 15]), flambeau.ones(2))
    assert whole.sum().item() == 2
    for index in ([0, 16], [-17, 3], [1 << 40, 0], [-(1 << 62), 0]):
        with pytest.raises(IndexError):
            compiled(inner, flambeau.tensor(index), flambeau.full((2,), 7.0))
    outside = flambeau.cat([whole[:24], whole[40:]])
    assert outside.count_nonzero().item() == 0


def test_program_is_usable_after_an_error(backend, same):
    table = flambeau.randn(10, 3)

    def f(i):
        return nn.functional.embedding(i, table) * 2

    compiled = flambeau.compile(f, backend=backend)
    good, bad = flambeau.tensor([1, 2, 9]), flambeau.tensor([1, 2, 10])
    for _ in range(3):
        same(compiled(good), f(good))
        with pytest.raises(IndexError):
            compiled(bad)


def test_unknown_backend():
    with pytest.raises(Exception, match="nothing_here") as caught:
        flambeau.compile(lambda x: x + 1, backend="nothing_here")(flambeau.ones(2))
    assert "inductor" in str(caught.value)


def test_backend_that_is_no_backend():
    with pytest.raises((TypeError, RuntimeError)):
        flambeau.compile(lambda x: x + 1, backend=3)(flambeau.ones(2))


def test_unknown_mode_and_options():
    with pytest.raises(RuntimeError, match="mode"):
        flambeau.compile(lambda x: x, mode="fastest")
    with pytest.raises(RuntimeError, match="both"):
        flambeau.compile(lambda x: x, mode="default", options={})
    with pytest.raises(TypeError):
        flambeau.compile(3)


def test_missing_attribute_names_flambeau():
    with pytest.raises(AttributeError, match="flambeau does not have"):
        flambeau.nothing_here
    with pytest.raises(AttributeError, match="nothing_here"):
        nn.Linear(2, 2).nothing_here


def test_load_state_dict_names_what_is_wrong():
    model = nn.Linear(2, 3)
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        model.load_state_dict({"weight": flambeau.ones(2, 2), "bias": flambeau.ones(3)})
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict({"weight": flambeau.ones(3, 2)})
    with pytest.raises(RuntimeError, match="Unexpected key"):
        model.load_state_dict({**model.state_dict(), "other": flambeau.ones(1)})


def test_compiled_model_on_wrong_sizes_and_dtypes(backend, same):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    compiled = flambeau.compile(model, backend=backend)
    x = flambeau.randn(3, 4)
    same(compiled(x), model(x))
    with pytest.raises(RuntimeError):
        compiled(flambeau.randn(3, 5))
    with pytest.raises(RuntimeError):
        compiled(x.double())
    with pytest.raises(TypeError):
        compiled()
    with pytest.raises((TypeError, AttributeError)):
        compiled("text")
    same(compiled(x), model(x))
