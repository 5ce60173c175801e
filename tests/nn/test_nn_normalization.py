"""Normalization against torch: values, gradients, running statistics, training and evaluation."""

import numpy as np
import pytest


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 5, 6)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(compare, random, shape, training, dtype):
    def function(t, x, w, b, mean, var):
        mean, var = mean.detach().clone(), (var.detach() * var.detach()) + 0.5
        y = t.F.batch_norm(x, mean, var, w, b, training, 0.2, 1e-4)
        return y, mean, var

    parameters = [random(3, dtype=dtype) for _ in range(4)]
    compare(function, random(*shape, dtype=dtype), *parameters)


def test_batch_norm_without_affine_or_statistics(compare, random):
    compare(lambda t, x: t.F.batch_norm(x, None, None, training=True), random(4, 3, 5))
    compare(
        lambda t, x: t.F.batch_norm(x.transpose(1, 2), None, None, training=True), random(4, 3, 5)
    )


def test_batch_norm_module_over_steps(compare, random):
    def function(t, x):
        norm = t.nn.BatchNorm2d(3)
        for _ in range(3):
            y = norm(x)
        norm.eval()
        return y, norm(x), norm.running_mean, norm.running_var, norm.num_batches_tracked

    compare(function, random(4, 3, 5, 6))


def test_cumulative_average_and_no_tracking(compare, random):
    def function(t, x):
        norm = t.nn.BatchNorm1d(3, momentum=None)
        for step in range(3):
            norm(x * (step + 1))
        other = t.nn.BatchNorm1d(3, track_running_stats=False).eval()
        return norm.running_mean, norm.running_var, other(x)

    compare(function, random(4, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layer_norm(compare, random, dtype):
    compare(
        lambda t, x, w, b: t.F.layer_norm(x, (5,), w, b),
        random(2, 3, 5, dtype=dtype),
        random(5, dtype=dtype),
        random(5, dtype=dtype),
    )
    compare(
        lambda t, x, w: t.F.layer_norm(x, (3, 5), w),
        random(2, 3, 5, dtype=dtype),
        random(3, 5, dtype=dtype),
    )
    compare(lambda t, x: t.F.layer_norm(x.transpose(0, 1), (5,)), random(2, 3, 5, dtype=dtype))
    compare(lambda t, x: t.F.layer_norm(x, (5,)), np.zeros((0, 5), dtype))


def test_rms_group_and_instance_norm(compare, random):
    compare(lambda t, x, w: t.F.rms_norm(x, (5,), w, 1e-5), random(2, 3, 5), random(5))
    compare(lambda t, x: t.F.rms_norm(x, (5,)), random(2, 3, 5))
    compare(lambda t, x, w, b: t.F.group_norm(x, 2, w, b), random(2, 6, 4, 5), random(6), random(6))
    compare(lambda t, x: t.F.group_norm(x, 3), random(2, 6))
    compare(
        lambda t, x, w, b: t.F.instance_norm(x, weight=w, bias=b),
        random(2, 3, 4, 5),
        random(3),
        random(3),
    )

    def tracking(t, x):
        norm = t.nn.InstanceNorm2d(3, affine=True, track_running_stats=True)
        y = norm(x)
        return y, norm.running_mean, norm.running_var, norm.eval()(x)

    compare(tracking, random(2, 3, 4, 5))
    compare(lambda t, x: t.nn.InstanceNorm1d(3)(x), random(3, 6))


def test_normalize_and_local_response(compare, random):
    compare(lambda t, x: t.F.normalize(x), random(3, 4))
    compare(lambda t, x: t.F.normalize(x, p=1.0, dim=0), random(3, 4))
    compare(lambda t, x: t.F.local_response_norm(x, 3), random(2, 6, 4, 4))
    compare(lambda t, x: t.F.local_response_norm(x, 2, 0.1, 0.5, 2.0), random(2, 6, 4))


@pytest.mark.parametrize("which", ["layer", "batch"])
def test_second_derivative(compare, random, which):
    def function(t, x, w, b):
        grad = (
            __import__("eager.autograd", fromlist=["grad"]).grad
            if not hasattr(t, "torch")
            else t.torch.autograd.grad
        )
        if which == "layer":
            y = t.F.layer_norm(x, (4,), w, b)
        else:
            y = t.F.batch_norm(x, None, None, w, b, training=True)
        return grad(y.sin().sum(), (x, w), create_graph=True)

    compare(
        function,
        random(3, 4, dtype=np.float64),
        random(4, dtype=np.float64),
        random(4, dtype=np.float64),
        tolerance=1e-7,
    )


@pytest.mark.parametrize(
    "call, error, match",
    [
        (
            lambda t, x: t.F.batch_norm(x[:1], None, None, training=True),
            ValueError,
            "more than 1 value per channel",
        ),
        (lambda t, x: t.F.layer_norm(x, (4,)), RuntimeError, "expected input with shape"),
        (lambda t, x: t.F.group_norm(x, 2), RuntimeError, "divisible by num_groups"),
        (lambda t, x: t.nn.BatchNorm2d(3)(x), ValueError, "expected 4D input"),
    ],
)
def test_what_does_not_fit(ours, random, call, error, match):
    torch = pytest.importorskip("torch")
    from types import SimpleNamespace

    theirs = SimpleNamespace(F=torch.nn.functional, nn=torch.nn)
    x = random(2, 3)
    with pytest.raises(error, match=match):
        call(theirs, torch.from_numpy(x))
    with pytest.raises(error, match=match):
        call(ours, ours.tensor(x))


def test_half_precision_statistics_are_single(ours, random):
    x = ours.tensor(random(4, 300).astype(np.float16))
    found = ours.F.layer_norm(x, (300,))
    assert found.dtype.name == "float16"
    assert abs(float(found.float().mean())) < 1e-3


def test_empty_batches(compare):
    def function(t, x):
        norm = t.nn.BatchNorm2d(3)
        return norm(x), norm.running_mean, norm.running_var, t.nn.GroupNorm(1, 3)(x)

    compare(function, np.zeros((0, 3, 4, 4), np.float32))
    compare(lambda t, x: t.F.local_response_norm(x, 3), np.zeros((0, 3, 4, 4), np.float32))
    compare(lambda t, x: t.F.adaptive_max_pool2d(x, 2), np.zeros((0, 3, 4, 4), np.float32))
    compare(lambda t, x: t.F.unfold(x, 2), np.zeros((0, 3, 4, 4), np.float32))
