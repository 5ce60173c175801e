"""Convolutions in three dimensions and their gradients, compiled: alone in PyTorch's order and in networks with channels last. Judged by
torch in double precision; no operator falls back."""

import numpy as np
import pytest

import flambeau
from eager.registry import ops

torch = pytest.importorskip("torch")

# channels, filters, kernel, stride, padding, dilation, groups
CASES = {
    "cube": (3, 8, (3, 3, 3), 1, 1, 1, 1),
    "times": (16, 8, (3, 1, 1), 1, (1, 0, 0), 1, 1),
    "plane": (16, 24, (1, 3, 3), (1, 2, 2), (0, 1, 1), 1, 1),
    "point": (8, 9, (1, 1, 1), 1, 0, 1, 1),
    "padded point": (4, 5, (1, 1, 1), 1, (1, 0, 0), 1, 1),
    "strided point": (4, 5, (1, 1, 1), (2, 1, 1), 0, 1, 1),
    "groups": (8, 32, (3, 3, 3), 2, 1, 1, 2),
    "depthwise": (6, 6, (3, 3, 3), (2, 1, 1), (2, 1, 1), (2, 1, 1), 6),
    "gaps": (4, 4, (2, 2, 2), (3, 2, 1), 0, 1, 1),
    "far": (5, 7, (2, 3, 2), 1, (3, 0, 2), (4, 1, 2), 1),
}
SIZE = (2, 6, 7, 9)  # batch, depth, height, width


def arrays(case, seed=0):
    channels, filters, kernel, *_, groups = CASES[case]
    random = np.random.default_rng(seed)
    shapes = ((SIZE[0], channels, *SIZE[1:]), (filters, channels // groups, *kernel), (filters,))
    return [random.standard_normal(shape) for shape in shapes]


def results(library, given, function, dtype, training, compiled):
    """The output of `function(library, *tensors)` and the gradients."""
    inputs = [library.tensor(x.astype(dtype)) for x in given]
    for x in inputs:
        x.requires_grad_(training)

    def program(*tensors):
        return function(library, *tensors)

    out = (flambeau.compile(program, fullgraph=True) if compiled else program)(*inputs)
    if not training:
        return [out.detach().numpy()]
    random = np.random.default_rng(1)
    out.backward(library.tensor(random.standard_normal(tuple(out.shape)).astype(dtype)))
    return [out.detach().numpy(), *(x.grad.numpy() for x in inputs)]


def check(given, function, training=True, dtype="float32", tolerance=3e-5):
    mine = results(flambeau, given, function, dtype, training, True)
    theirs = results(torch, given, function, "float64", training, False)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("case", CASES)
def test_alone(steps, case, training):
    how = CASES[case][3:]
    check(arrays(case), lambda t, x, w, b: t.nn.functional.conv3d(x, w, b, *how), training)
    assert "convolution" in steps and ("convolution_weight_grad" in steps) == training


def network(case):
    """Another convolution before and after, so that images keep their channels last."""
    channels, filters, _, *how = CASES[case]

    def run(t, x, w, b, first, last):
        conv = t.nn.functional.conv3d
        x = t.relu(conv(x, first, padding=1))
        x = t.relu(conv(x, w, b, *how))
        return conv(x, last, stride=(1, 1, 2)).mean((2, 3, 4))

    random = np.random.default_rng(2)
    kernels = ((channels, channels, 3, 3, 3), (5, filters, 1, 1, 1))
    return [*arrays(case), *(random.standard_normal(k) / 5 for k in kernels)], run


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("case", CASES)
def test_in_a_network(steps, case, training):
    given, run = network(case)
    check(given, run, training)
    assert any(" by 3x3/1" in name for name in steps)  # the first, by a kernel for channels last


@pytest.mark.parametrize("case", ["cube", "groups"])
def test_double_precision(steps, case):
    given, run = network(case)
    check(given, run, dtype="float64", tolerance=1e-12)


@pytest.mark.parametrize("case", ["cube", "gaps", "plane"])
def test_transposed(steps, case):
    """As upsampling has it: the gradient by the image is the forward pass."""
    channels, filters, kernel, stride, padding, *_ = CASES[case]
    random = np.random.default_rng(0)
    given = [random.standard_normal((2, filters, 3, 4, 5)), random.standard_normal((filters, channels, *kernel))]
    check(given, lambda t, x, w: t.nn.functional.conv_transpose3d(x, w, None, stride, padding))
    assert "convolution_input_grad" in steps


def test_kept_weights_follow_their_parameter(steps):
    """An inference packs weights once, in two steps, and again when they change."""
    flambeau.manual_seed(0)
    layers = [flambeau.nn.Conv3d(a, b, 3, padding=1) for a, b in ((4, 32), (32, 32), (32, 3))]
    model = flambeau.nn.Sequential(*layers)
    compiled = flambeau.compile(model, fullgraph=True)
    x = flambeau.randn(1, 4, 5, 12, 12)
    with flambeau.no_grad():
        for change in (1.0, 2.0):
            for layer in layers:
                layer.weight.mul_(change)
            np.testing.assert_allclose(compiled(x).numpy(), model(x).numpy(), rtol=1e-4, atol=1e-5)
    assert not any(name.startswith("pack") for name in steps)


def test_what_is_not_finite_stays_in_its_plane(harness):
    """A plane of padding is zeros, and no plane reads another one than its own."""
    x, w = harness.tensor(1, 2, 4, 5, 5), harness.tensor(3, 2, 3, 3, 3)
    x.numpy()[0, 0, 0, 2, 2] = np.inf
    run = harness.compile(lambda x, w: ops.convolution(x, w, None, (1, 1, 1), (1, 1, 1), (1, 1, 1), 1), x, w)
    found = run(x, w)[0].numpy()
    assert not np.isfinite(found[:, :, :2, 1:4, 1:4]).any() and np.isfinite(found[:, :, 2:]).all()
    assert np.isfinite(found[:, :, :, 0]).all() and harness.fallbacks == []
