"""Products and convolutions of half precision are those of single precision, rounded once; weights that are dequantized on the way to a
product of few rows are never written to memory. Judged by torch on widened values."""

import numpy as np
import pytest

import flambeau
from inductor.weights import kept_bytes

torch = pytest.importorskip("torch")

KINDS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}  # half the distance of neighbours, relative


def models():
    nn = flambeau.nn
    return {
        "linear": (nn.Sequential(nn.Linear(40, 70), nn.Tanh(), nn.Linear(70, 9)), (33, 40)),
        "image": (
            nn.Sequential(nn.Conv2d(5, 24, 3, padding=1), nn.Tanh(), nn.Conv2d(24, 24, 3), nn.Tanh(), nn.Conv2d(24, 48, 1)),
            (2, 5, 11, 13),
        ),
        "alone": (nn.Conv1d(6, 8, 3, bias=False), (2, 6, 20)),
        "volume": (
            nn.Sequential(nn.Conv3d(4, 16, 3, padding=1), nn.Tanh(), nn.Conv3d(16, 16, 3, padding=1), nn.Tanh(), nn.Conv3d(16, 64, 1)),
            (1, 4, 4, 6, 7),
        ),
        "transposed": (nn.ConvTranspose2d(6, 4, 2, stride=2), (2, 6, 5, 5)),
    }


def close(found, wanted, step, times=4):
    """Within a few roundings, of the largest value where terms cancel."""
    found, wanted = (np.asarray(x.detach().float().numpy(), np.float64) for x in (found, wanted))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=times * step * np.abs(wanted).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", models())
def test_forward_and_backward(steps, name, kind):
    """Against eager, which widens, computes and rounds as well; compiled code may round less often."""
    flambeau.manual_seed(0)
    model, shape = models()[name]
    model.to(getattr(flambeau, kind))
    x = flambeau.randn(*shape).to(getattr(flambeau, kind)).requires_grad_()
    gradient = None
    results = []
    for run in (flambeau.compile(model, fullgraph=True), model):
        model.zero_grad()
        x.grad = None
        out = run(x)
        gradient = flambeau.randn(*out.shape).to(out.dtype) if gradient is None else gradient
        out.backward(gradient)
        results.append([out, x.grad, *(p.grad for p in model.parameters())])
    assert any(s.startswith(("mm_", "convolution")) for s in steps)
    for mine, theirs in zip(*results, strict=True):
        assert mine.dtype is theirs.dtype
        close(mine, theirs, KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_one_rounding(steps, kind):
    """A product with its bias is rounded once, whatever its length."""
    random = np.random.default_rng(0)
    x, w, b = (random.standard_normal(s).astype(np.float32) for s in ((50, 300), (60, 300), (60,)))
    mine = [flambeau.tensor(a).to(getattr(flambeau, kind)) for a in (x, w, b)]
    theirs = [torch.tensor(a).to(getattr(torch, kind)).double() for a in (x, w, b)]
    found = flambeau.compile(flambeau.nn.functional.linear)(*mine).float().numpy()
    wanted = torch.nn.functional.linear(*theirs).numpy()
    # half a step of the result, and what single precision loses over 300 terms
    np.testing.assert_array_less(np.abs(found - wanted), KINDS[kind] * np.abs(wanted) + 2e-4)


@pytest.mark.parametrize("name", ["linear", "image", "volume"])
def test_weights_are_widened_once(steps, name):
    """And again when they change."""
    flambeau.manual_seed(0)
    before = kept_bytes()
    model, shape = models()[name]
    model.to(flambeau.bfloat16)
    x = flambeau.randn(*shape).to(flambeau.bfloat16)
    compiled = flambeau.compile(model, fullgraph=True)
    with flambeau.no_grad():
        for _ in range(2):
            close(compiled(x), model(x), KINDS["bfloat16"])
            for p in model.parameters():
                p.mul_(-0.5)
    assert kept_bytes() > before and not any(s.startswith("pack") for s in steps)


def quantized(random, shape):
    return random.integers(-127, 128, shape).astype(np.int8), random.random((shape[0], 1)).astype(np.float32)


@pytest.mark.parametrize(("rows", "written"), [(1, False), (3, False), (64, True)])
def test_dequantized_weights(steps, rows, written):
    """Few rows read them as bytes; for many a product of floats is worth writing them."""
    random = np.random.default_rng(0)
    weight, scale = quantized(random, (96, 160))
    x, bias = (random.standard_normal(s).astype(np.float32) for s in ((rows, 160), (96,)))

    def layer(x, w, s, b):
        return flambeau.nn.functional.linear(x, w.to(x.dtype) * s, b)

    found = flambeau.compile(layer, fullgraph=True)(*map(flambeau.tensor, (x, weight, scale, bias)))
    wanted = x.astype(np.float64) @ (weight * scale.astype(np.float64)).T + bias
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-3)
    assert any(s.startswith("mm_") for s in steps) == written


def test_a_factor_of_several_products_is_written_once(steps):
    random = np.random.default_rng(0)
    weight, scale = quantized(random, (64, 64))

    def twice(x, w, s):
        factor = (w.to(x.dtype) * s).t()
        return x @ factor @ factor

    x = random.standard_normal((2, 64)).astype(np.float32)
    found = flambeau.compile(twice, fullgraph=True)(*map(flambeau.tensor, (x, weight, scale)))
    factor = (weight * scale.astype(np.float64)).T
    wanted = x @ factor @ factor
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert sum(s.startswith("mm_") for s in steps) == 2
