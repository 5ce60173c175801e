"""Networks that infer with channels last: layouts, every size of convolution, special values."""

import numpy as np
import pytest

import flambeau as fl
from flambeau import nn
from inductor.program import input, output, run_step
from inductor.templates import direct, packing, winograd
from inductor.templates.frame import choose_tile, frame, gradient_frames
from inductor.templates.image import Convolution
from inductor.templates.winograd import Cut

CONVOLUTIONS = {
    "stem": ((1, 3, 17, 19), dict(out_channels=8, kernel_size=7, stride=2, padding=3)),
    "three by three": ((2, 16, 9, 11), dict(out_channels=24, kernel_size=3, padding=1)),
    "odd channels": ((1, 33, 9, 9), dict(out_channels=70, kernel_size=3, padding=1)),
    "groups": ((3, 20, 8, 8), dict(out_channels=40, kernel_size=3, stride=2, padding=1, groups=2)),
    "narrow groups": ((2, 12, 6, 6), dict(out_channels=12, kernel_size=3, padding=1, groups=4)),
    "uneven": (
        (2, 12, 13, 5),
        dict(out_channels=30, kernel_size=(3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
    ),
    "pointwise": ((3, 40, 5, 7), dict(out_channels=19, kernel_size=1)),
    "one pixel": ((1, 130, 1, 1), dict(out_channels=40, kernel_size=1)),
    "patches": ((2, 3, 8, 8), dict(out_channels=17, kernel_size=4, stride=4)),
    "depthwise": ((2, 37, 12, 10), dict(out_channels=37, kernel_size=3, padding=1, groups=37)),
    "depthwise stride": (
        (1, 24, 15, 15), dict(out_channels=24, kernel_size=5, stride=2, padding=2, groups=24)
    ),
    "depthwise large": (
        (1, 16, 5, 6), dict(out_channels=16, kernel_size=7, padding=3, groups=16)
    ),
    "depthwise dilated": (
        (1, 20, 9, 9),
        dict(out_channels=20, kernel_size=3, padding=2, dilation=2, groups=20),
    ),
    "depthwise wide": ((1, 21, 6, 23), dict(out_channels=21, kernel_size=5, padding=2, groups=21)),
    "depthwise far taps": (
        (1, 16, 12, 17), dict(out_channels=16, kernel_size=3, padding=6, dilation=6, groups=16)
    ),
    "depthwise padding alone": (
        (1, 16, 3, 2), dict(out_channels=16, kernel_size=3, padding=9, groups=16)
    ),
    "depthwise long strides": (
        (2, 16, 9, 50), dict(out_channels=16, kernel_size=(3, 9), stride=3, padding=(1, 4), groups=16)
    ),
    "depthwise far reach": (
        (1, 16, 3, 300), dict(out_channels=16, kernel_size=3, padding=(1, 128), dilation=(1, 128), groups=16)
    ),
    "depthwise far padding": (
        (1, 16, 2, 20), dict(out_channels=16, kernel_size=3, padding=(1, 500), groups=16)
    ),
    "depthwise most edges": (
        (1, 16, 2, 90), dict(out_channels=16, kernel_size=(1, 33), padding=(0, 32), groups=16)
    ),
    "reflected": (
        (1, 16, 7, 7),
        dict(out_channels=20, kernel_size=3, padding=1, padding_mode="reflect"),
    ),
    "all padding": ((1, 16, 1, 2), dict(out_channels=20, kernel_size=3, padding=4)),
}
TRANSPOSED = {
    "double": ((2, 16, 5, 7), dict(out_channels=24, kernel_size=4, stride=2, padding=1)),
    "odd": (
        (1, 20, 4, 4),
        dict(out_channels=17, kernel_size=3, stride=2, padding=1, output_padding=1),
    ),
    "same": ((2, 8, 6, 6), dict(out_channels=12, kernel_size=3, padding=1)),
    "gaps": ((1, 12, 5, 5), dict(out_channels=24, kernel_size=2, stride=3, groups=1)),
    "groups": (
        (1, 12, 5, 5), dict(out_channels=24, kernel_size=3, stride=3, dilation=2, groups=3)
    ),
}


def network(kind, channels, options):
    """The convolution in question between others, so that its image has its channels last."""
    fl.manual_seed(0)
    filters = options["out_channels"]
    layers = [
        nn.Conv2d(channels, channels, 1), kind(channels, **options), nn.BatchNorm2d(filters),
        nn.Hardswish(), nn.Conv2d(filters, 20, 3, padding=1), nn.ReLU(), nn.Conv2d(20, 9, 1),
    ]
    made = nn.Sequential(*layers).eval()
    norm = layers[2]
    with fl.no_grad():
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    return made


def check(model, image, tolerance=3e-6):
    """Compiled in single precision against eager in double."""
    with fl.no_grad():
        found = fl.compile(model)(image).numpy()
        wanted = model.double()(image.double()).numpy()
        model.float()
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    shape, options = CONVOLUTIONS[name]
    check(network(nn.Conv2d, shape[1], options), fl.randn(*shape))


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions(name):
    shape, options = TRANSPOSED[name]
    check(network(nn.ConvTranspose2d, shape[1], options), fl.randn(*shape))


WINOGRAD = {
    "even": (1, 32, 12, 12, 64, 1),
    "odd": (2, 40, 11, 13, 37, 1),
    "without padding": (1, 64, 14, 15, 48, 0),
    "much padding": (3, 33, 10, 12, 70, 2),
    # those below are for processors without AVX-512; others go the direct way
    "few channels": (2, 8, 9, 7, 16, 1),
    "few tiles": (1, 36, 7, 8, 100, 1),
}


def three_by_three(name):
    batch, channels, height, width, filters, padding = WINOGRAD[name]
    fl.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, filters, 3, 1, padding),
        nn.BatchNorm2d(filters), nn.GELU(), nn.Conv2d(filters, 40, 1), nn.Tanh(),
        nn.Conv2d(40, 40, 3, 1, 1, bias=False), nn.ReLU(),
    )
    return model.eval(), fl.randn(batch, channels, height, width)


@pytest.mark.parametrize("name", WINOGRAD)
def test_three_by_three_after_winograd(name):
    check(*three_by_three(name))


def test_values_that_are_not_finite_go_the_direct_way():
    """Infinity stays infinity, which the transformed way alone would make NaN."""
    model, image = three_by_three("odd")
    compiled = fl.compile(model)
    with fl.no_grad(), np.errstate(all="ignore"):
        compiled(image)
        array = image.numpy()
        array[0, 3, 4, 5], array[0, 1, 0, 0], array[1, 2, 8, 8] = np.inf, np.nan, -np.inf
        found, wanted = compiled(image).numpy(), model(image).numpy()
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        array[...] = 1.0
        np.testing.assert_allclose(
            compiled(image).numpy(), model(image).numpy(), rtol=1e-4, atol=1e-5
        )


def test_winograd_is_as_accurate_as_the_direct_way():
    """Against double precision, in the mean over the outputs."""
    conv = Convolution(1, 128, 14, 14, 64, (3, 3), padding=(1, 1))
    random = np.random.default_rng(0)
    image = random.standard_normal((1, 14, 14, 128), dtype=np.float32)
    weight = random.standard_normal((64, 128, 3, 3), dtype=np.float32)
    wide = fl.from_numpy(image.astype(np.float64)).permute(0, 3, 1, 2)
    wanted = fl.conv2d(wide, fl.from_numpy(weight.astype(np.float64)), None, 1, 1)
    work = frame(conv)
    plain, transformed = np.empty(work.packed, np.float32), np.empty(Cut(conv).packed, np.float32)
    run_step(packing.pack(work, packing.weights(conv)).step(input(0), output(0)), (weight, plain))
    run_step(winograd.pack(conv).step(input(0), output(0)), (weight, transformed))
    results = [np.empty((1, 14, 14, 64), np.float32) for _ in range(2)]
    flag = np.zeros(1, np.int32)
    run_step(direct.kernel(work).step(input(0), input(1), output(0)), (image, plain, results[0]))
    run_step(
        winograd.kernel(conv).step(input(0), input(1), output(0), input(2)),
        (image, transformed, flag, results[1]),
    )
    errors = [np.abs(r.transpose(0, 3, 1, 2) - wanted.numpy()).mean() for r in results]
    assert errors[1] < 2 * errors[0] and not flag[0]


class Block(nn.Module):
    """A residual block with squeeze and excitation, pooling and concatenation."""

    def __init__(self):
        super().__init__()
        self.first, self.depth = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 32, 3, 1, 1, groups=32)
        self.squeeze, self.excite = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1)
        self.last, self.head = nn.Conv2d(32, 16, 1), nn.Conv2d(32, 10, 1)
        self.norm, self.pool = nn.BatchNorm2d(32), nn.MaxPool2d(3, 2, 1)

    def forward(self, x):
        y = nn.functional.silu(self.norm(self.depth(self.first(x))))
        gate = self.excite(nn.functional.relu(self.squeeze(y.mean((2, 3), keepdim=True))))
        z = self.last(y * gate.sigmoid()) + x
        return self.head(fl.cat([self.pool(z), nn.functional.avg_pool2d(z, 2)], 1))


def test_a_block_is_computed_as_by_eager():
    fl.manual_seed(0)
    check(Block().eval(), fl.randn(2, 16, 12, 12))


def test_double_precision_and_other_layouts():
    model = network(nn.Conv2d, 6, dict(out_channels=10, kernel_size=3, padding=1)).double()
    image = fl.randn(2, 6, 7, 8, dtype=fl.float64)
    with fl.no_grad():
        wanted = model(image).numpy()
        compiled = fl.compile(model)
        np.testing.assert_allclose(compiled(image).numpy(), wanted, rtol=1e-12, atol=1e-12)
        last = image.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        np.testing.assert_allclose(compiled(last).numpy(), wanted, rtol=1e-12, atol=1e-12)


def test_signals_keep_their_channels_last_too():
    fl.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(5, 24, 5, 2, 2), nn.ReLU(), nn.Conv1d(24, 24, 3, padding=1, groups=24),
        nn.Conv1d(24, 30, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv1d(30, 4, 1),
    )
    check(model, fl.randn(2, 5, 31))


def test_special_values_reach_what_they_reach_in_eager():
    model = network(nn.Conv2d, 8, dict(out_channels=20, kernel_size=3, padding=1))
    image = fl.randn(1, 8, 9, 9)
    array = image.numpy()
    array[0, 0, 0, 0], array[0, 3, 8, 4] = np.nan, np.inf
    with fl.no_grad(), np.errstate(all="ignore"):
        found, wanted = fl.compile(model)(image).numpy(), model(image).numpy()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    whole = np.isfinite(wanted)
    np.testing.assert_allclose(found[whole], wanted[whole], rtol=1e-4, atol=1e-5)


def test_changed_statistics_and_weights_count():
    model = network(nn.Conv2d, 64, dict(out_channels=64, kernel_size=3, padding=1))
    image, compiled = fl.randn(1, 64, 6, 6), fl.compile(model)
    with fl.no_grad():
        compiled(image)
        model[2].running_mean.add_(1.0)
        model[1].weight.mul_(2.0)
        np.testing.assert_allclose(
            compiled(image).numpy(), model(image).numpy(), rtol=1e-3, atol=1e-4
        )


def test_a_residual_network_has_no_copies(harness):
    """Convolutions with their epilogues, and nothing in between."""

    def run(x, *weights):
        x = fl.conv2d(x, weights[0], None, 1, 1)
        for w in weights[1:]:
            x = fl.relu(fl.conv2d(x, w, None, 1, 1) + x)
        return x.mean((2, 3))

    weights = [harness.tensor(16, 16, 3, 3) for _ in range(4)]
    harness.check(run, harness.tensor(2, 16, 8, 8), *weights)
    assert harness.kernels == [2] and harness.fallbacks == []  # the input's layout, and the mean


def test_frames_of_gradients_cover_the_image_once():
    conv = Convolution(2, 8, 7, 6, 16, (3, 4), (2, 3), (1, 2))
    seen = np.zeros((7, 6), int)
    for part, _ in gradient_frames(conv):
        _, row, column, _ = part.spread
        for y in range(part.rows):
            for x in range(part.columns):
                seen.reshape(-1)[part.first + y * row + x * column] += 1
    assert (seen == 1).all()


def test_tiles_fit_the_registers():
    for pixels, filters in ((49, 512), (3136, 64), (1, 1000), (12544, 3)):
        for registers, lanes in ((32, 16), (16, 8), (32, 4)):
            tile = choose_tile(pixels, 7, filters, lanes, registers)
            assert tile.rows * tile.vectors + tile.vectors + 1 <= registers
