"""Which data types the functions of torch.nn.functional take and which they refuse: as torch does."""

import warnings

import pytest

import flambeau

torch = pytest.importorskip("torch")

TYPES = "bool uint8 int64 float16 bfloat16 float32 complex64".split()
MORE = {
    "threshold": (0, 1), "softmin": (0,), "softmax": (0,), "log_softmax": (0,), "layer_norm": ((4,),), "group_norm": (2,),
    "batch_norm": (None, None, None, None, True), "max_pool2d": (2,), "adaptive_avg_pool2d": ((3, 3),), "adaptive_max_pool2d": ((3, 3),),
    "pixel_shuffle": (2,), "dropout": (0.5, True), "alpha_dropout": (0.5, True), "feature_alpha_dropout": (0.5, True),
}  # fmt: skip
ALONE = (
    "gelu silu mish elu selu celu leaky_relu hardtanh relu6 hardswish hardsigmoid softplus softsign logsigmoid tanhshrink threshold"
    " hardshrink softshrink glu relu softmin sigmoid softmax log_softmax layer_norm batch_norm group_norm dropout alpha_dropout"
    " feature_alpha_dropout max_pool2d adaptive_avg_pool2d adaptive_max_pool2d pixel_shuffle"
).split()
PAIRS = "mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy soft_margin_loss conv2d".split()
# Where flambeau differs, and why that is kept.
DIFFERENT = {
    ("hardtanh", "uint8"): "clamping bytes is well defined",
    ("soft_margin_loss", "complex64"): "a loss is real",
}


def outcome(library, name, kind):
    functional = library.nn.functional
    x = library.ones(2, 4, 4, 4).to(getattr(library, kind))
    arguments = (x, x) if name in PAIRS else (x, *MORE.get(name, ()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = getattr(functional, name)(*arguments)
        except RuntimeError:  # NotImplementedError is one
            return "refused"
    return str(result.dtype).rpartition(".")[2]


@pytest.mark.parametrize("name", ALONE + PAIRS)
def test_types_are_taken_and_refused_as_by_torch(name):
    for kind in TYPES:
        if (name, kind) not in DIFFERENT:
            assert outcome(flambeau, name, kind) == outcome(torch, name, kind), (name, kind)


def test_a_refusal_says_what_to_do():
    with pytest.raises(NotImplementedError, match=r'"gelu_cpu" not implemented for \'Long\'.*floating'):
        flambeau.nn.functional.gelu(flambeau.arange(3))


@pytest.mark.parametrize("rank", [2, 3])
def test_fractional_pooling_places_windows_as_torch(rank):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *(9, 8, 7)[:rank], dtype=torch.float64, requires_grad=True)
    samples = torch.rand(2, 3, rank, dtype=torch.float64)
    name = f"fractional_max_pool{rank}d"
    wanted = getattr(torch.nn.functional, name)(x, 2, output_size=(5, 4, 3)[:rank], return_indices=True, _random_samples=samples)
    mine = flambeau.tensor(x.detach().numpy()).requires_grad_()
    found = getattr(flambeau.nn.functional, name)(
        mine, 2, output_size=(5, 4, 3)[:rank], return_indices=True, _random_samples=flambeau.tensor(samples.numpy())
    )
    assert found[0].tolist() == wanted[0].tolist() and found[1].tolist() == wanted[1].tolist()
    wanted[0].square().sum().backward()
    found[0].square().sum().backward()
    assert mine.grad.tolist() == x.grad.tolist()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(3, 4), (11, 9)])
def test_antialiased_resizing_filters_as_torch(mode, size):
    x = torch.randn(2, 3, 7, 8)
    wanted = torch.nn.functional.interpolate(x, size, mode=mode, antialias=True)
    found = flambeau.nn.functional.interpolate(flambeau.tensor(x.numpy()), size, mode=mode, antialias=True)
    assert torch.allclose(torch.tensor(found.numpy()), wanted, atol=1e-5)
