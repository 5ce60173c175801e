"""torch._VF and torch.NAME where their parameters differ from the operator's: recurrent networks, normalization, embedding, `out=`."""

import numpy as np
import pytest

import flambeau
from eager.construct import from_numpy

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
RANDOM = np.random.default_rng(0)


def both(*shapes):
    arrays = [RANDOM.standard_normal(shape) for shape in shapes]
    return [from_numpy(a.copy()) for a in arrays], [torch.from_numpy(a.copy()) for a in arrays]


def flat(result):
    return [x for part in result for x in flat(part)] if isinstance(result, (tuple, list)) else [result]


def agree(mine, theirs):
    for one, two in zip(flat(mine), flat(theirs), strict=True):
        np.testing.assert_allclose(one.detach().numpy(), two.detach().numpy(), rtol=1e-9, atol=1e-12)
        assert str(one.dtype) == str(two.dtype)


def weights(gates, inputs, hidden, layers, directions, biases, projection=0):
    found = []
    for layer in range(layers):
        for _ in range(directions):
            width = inputs if layer == 0 else (projection or hidden) * directions
            found += [(gates * hidden, width), (gates * hidden, projection or hidden)]
            found += [(gates * hidden,)] * 2 if biases else []
            found += [(projection, hidden)] if projection else []
    return found


MODES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@pytest.mark.parametrize("how", [(True, 1, False, False), (False, 2, True, True), (True, 2, True, False)], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_recurrent(mode, how):
    biases, layers, bidirectional, batch_first = how
    directions = 1 + bidirectional
    shapes = weights(MODES[mode], 4, 3, layers, directions, biases)
    (x, h, c, *mine), (u, p, q, *theirs) = both((5, 2, 4), (layers * directions, 2, 3), (layers * directions, 2, 3), *shapes)
    if batch_first:
        x, u = x.transpose(0, 1), u.transpose(0, 1)
    rest = (biases, layers, 0.0, False, bidirectional, batch_first)
    lstm = mode == "lstm"
    agree(
        getattr(flambeau, mode)(x, (h, c) if lstm else h, mine, *rest),
        getattr(torch, mode)(u, (p, q) if lstm else p, theirs, *rest),
    )


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_recurrent_of_packed_sequences(mode, bidirectional):
    directions = 1 + bidirectional
    shapes = weights(MODES[mode], 4, 3, 2, directions, True)
    (x, h, c, *mine), (u, p, q, *theirs) = both((9, 4), (2 * directions, 4, 3), (2 * directions, 4, 3), *shapes)
    sizes = [4, 3, 1, 1]
    lstm = mode == "lstm"
    for tensor in (x, *mine):
        tensor.requires_grad_()
    for tensor in (u, *theirs):
        tensor.requires_grad_()
    rest = (True, 2, 0.0, False, bidirectional)
    found = getattr(flambeau._VF, mode)(x, flambeau.tensor(sizes), (h, c) if lstm else h, mine, *rest)
    wanted = getattr(torch._VF, mode)(u, torch.tensor(sizes), (p, q) if lstm else p, theirs, *rest)
    agree(found, wanted)
    sum(part.sin().sum() for part in found).backward()
    sum(part.sin().sum() for part in wanted).backward()
    agree([t.grad for t in (x, *mine)], [t.grad for t in (u, *theirs)])
    named = dict(zip(("has_biases", "num_layers", "dropout", "train", "bidirectional"), rest))
    again = getattr(flambeau, mode)(
        data=x, batch_sizes=flambeau.tensor(sizes), hx=(h, c) if lstm else h, params=mine, **named
    )
    agree(again, wanted)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_projections():
    shapes = weights(4, 4, 5, 2, 2, True, 3)
    (x, h, c, *mine), (u, p, q, *theirs) = both((3, 2, 4), (4, 2, 3), (4, 2, 5), *shapes)
    rest = (True, 2, 0.0, False, True, False)
    agree(flambeau.lstm(x, (h, c), mine, *rest), torch.lstm(u, (p, q), theirs, *rest))


@pytest.mark.parametrize("name", ["lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"])
def test_cells(name):
    gates = {"lstm_cell": 4, "gru_cell": 3}.get(name, 1)
    for biases in (True, False):
        (x, h, c, *mine), (u, p, q, *theirs) = both((2, 4), (2, 3), (2, 3), *weights(gates, 4, 3, 1, 1, biases))
        lstm = name == "lstm_cell"
        agree(
            getattr(flambeau, name)(x, (h, c) if lstm else h, *mine),
            getattr(torch, name)(u, (p, q) if lstm else p, *theirs),
        )
        with pytest.raises(RuntimeError, match="hidden_size"):
            getattr(flambeau, name)(x, (h[:, :2], c[:, :2]) if lstm else h[:, :2], *mine)


def test_recurrent_refusals():
    (x, h, c, *mine), _ = both((5, 2, 4), (1, 2, 3), (1, 2, 3), *weights(4, 4, 3, 1, 1, True))
    rest = (True, 1, 0.0, False, False)
    with pytest.raises(RuntimeError, match="weights"):
        flambeau.lstm(x, (h, c), mine[:-1], *rest, False)
    with pytest.raises(RuntimeError, match="larger than 0"):
        flambeau.lstm(x[:0], (h, c), mine, *rest, False)
    with pytest.raises(RuntimeError, match="hidden state"):
        flambeau.lstm(x, (h[:, :1], c[:, :1]), mine, *rest, False)
    with pytest.raises(RuntimeError, match="dtype"):
        flambeau.lstm(x, (h.float(), c.float()), mine, *rest, False)


@pytest.mark.parametrize("batch_first", [False, True])
def test_packing(batch_first):
    (x,), (u,) = both((3, 4, 2))
    lengths = [4, 2, 1] if batch_first else [3, 3, 2, 1]
    agree(
        flambeau._pack_padded_sequence(x, flambeau.tensor(lengths), batch_first),
        torch._C._VariableFunctions._pack_padded_sequence(u, torch.tensor(lengths), batch_first),
    )
    data, sizes = flambeau._pack_padded_sequence(x, flambeau.tensor(lengths), batch_first)
    packed = torch.from_numpy(data.numpy()), torch.from_numpy(sizes.numpy())
    for total in (0, 6):
        agree(
            flambeau._pad_packed_sequence(data, sizes, batch_first, -1.0, total),
            torch._C._VariableFunctions._pad_packed_sequence(*packed, batch_first, -1.0, total),
        )
    with pytest.raises(RuntimeError, match="sorted in decreasing order"):
        flambeau._pack_padded_sequence(x, flambeau.tensor(lengths[::-1]), batch_first)
    with pytest.raises(RuntimeError, match="len\\(lengths\\)"):
        flambeau._pack_padded_sequence(x, flambeau.tensor(lengths[:-1]), batch_first)


def test_normalization_in_the_order_of_torch():
    (x, w, b, m, v), (u, y, c, n, s) = both((6, 4, 3), 4, 4, 4, 4)
    v, s = v.abs() + 1, s.abs() + 1
    for training in (True, False):
        agree(
            flambeau.batch_norm(x, w, b, m, v, training, 0.2, 1e-3, False),
            torch.batch_norm(u, y, c, n, s, training, 0.2, 1e-3, False),
        )
        agree([m, v], [n, s])
    agree(
        flambeau.ops.aten.batch_norm(x, w, b, m, v, False, 0.2, 1e-3, False),
        torch.ops.aten.batch_norm(u, y, c, n, s, False, 0.2, 1e-3, False),
    )
    agree(flambeau.instance_norm(x, w, b, m, v, True, 0.2, 1e-3, False), torch.instance_norm(u, y, c, n, s, True, 0.2, 1e-3, False))
    agree(flambeau.group_norm(x, 2, w, b, 1e-3, False), torch.group_norm(u, 2, y, c, 1e-3, False))
    agree(flambeau.layer_norm(x, (3,), None, None, 1e-3, False), torch.layer_norm(u, (3,), None, None, 1e-3, False))
    agree(flambeau.norm_except_dim(x, 2, 1), torch.norm_except_dim(u, 2, 1))
    agree(flambeau.norm_except_dim(x, 3, -1), torch.norm_except_dim(u, 3, -1))


def test_embedding_takes_the_table_first():
    (w,), (u,) = both((5, 3))
    rows = [[1, 4], [0, 1]]
    agree(flambeau.embedding(w, flambeau.tensor(rows), 1), torch.embedding(u, torch.tensor(rows), 1))
    agree(flambeau.ops.aten.embedding(w, flambeau.tensor(rows)), torch.ops.aten.embedding(u, torch.tensor(rows)))
    agree(
        flambeau.embedding_renorm_(w, flambeau.tensor([1, 2]), 0.5, 2.0),
        torch.embedding_renorm_(u, torch.tensor([1, 2]), 0.5, 2.0),
    )
    agree(w, u)


def test_dropout_in_place_differentiates():
    x = flambeau.ones(100, requires_grad=True)
    y = x * 2
    assert flambeau.dropout_(y, 0.5, True) is y
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    assert flambeau.dropout_(y.detach(), 0.5, False).equal(y)


def test_convolution_over_time():
    (x, w, b), (u, y, c) = both((7, 2, 3), (4, 3, 5), 5)
    agree(flambeau.conv_tbc(x, w, b, 1), torch.conv_tbc(u, y, c, 1))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_gradients_of_convolutions(rank):
    spatial = (7, 6, 5)[:rank]
    (x, w), (u, y) = both((2, 4, *spatial), (6, 2, *(3,) * rank))
    how = dict(stride=2, padding=1, groups=2)
    (g,), (h,) = both(tuple(getattr(flambeau.nn.functional, f"conv{rank}d")(x, w, **how).shape))
    for kind, mine, theirs in (("input", (x.shape, w, g), (u.shape, y, h)), ("weight", (x, w.shape, g), (u, y.shape, h))):
        name = f"conv{rank}d_{kind}"
        agree(getattr(flambeau.nn.grad, name)(*mine, **how), getattr(torch.nn.grad, name)(*theirs, **how))


def test_native_dropout():
    out, mask = flambeau.native_dropout(flambeau.ones(1000), 0.25, True)
    np.testing.assert_allclose(out.numpy(), mask.numpy() / 0.75, rtol=1e-6)
    assert 0.6 < mask.float().mean() < 0.9
    out, mask = flambeau.native_dropout(flambeau.ones(3), 0.25, False)
    assert mask.all() and out.equal(flambeau.ones(3))


def test_values_made_in_the_type_of_out():
    mine, theirs = flambeau.empty(7, dtype=flambeau.float64), torch.empty(7, dtype=torch.float64)
    agree(flambeau.linspace(0, 1, 7, out=mine), torch.linspace(0, 1, 7, out=theirs))
    agree(flambeau.full((7,), 3, out=mine), torch.full((7,), 3, out=theirs))


@pytest.mark.parametrize(
    "call",
    ["mm(x, x)", "sort(x)", "softmax(x, 0)", "abs(x)", "gather(x, 0, i)", "index_select(x, 0, i[0])", "amax(x, 0)", "linspace(0, 1, 5)",
     "cumsum(x, 0)", "add(x, x)", "sum(x, 0)", "sin(x)", "cat([x, x])", "where(x > 0, x, x)", "zeros(2, 2)", "linalg.svd(x)",
     "zeros(2, 2, dtype=library.float32)"],
)  # fmt: skip
def test_out_of_another_type_as_torch(call):
    def attempt(library):
        x, i = library.ones(2, 2), library.zeros(2, 2, dtype=library.int64)
        names = {"x": x, "i": i, "library": library}
        shapes = eval(f"library.{call}", names)
        many = isinstance(shapes, tuple)
        out = [library.empty(tuple(part.shape), dtype=library.float64) for part in (shapes if many else [shapes])]
        try:
            eval(f"library.{call[:-1]}, out=out)", {**names, "out": tuple(out) if many else out[0]})
        except RuntimeError:
            return "refused"
        return "converted"

    if call == "softmax(x, 0)":  # torch takes it for a call that names a type
        assert attempt(flambeau) == "converted"
        return
    assert attempt(flambeau) == attempt(torch)
