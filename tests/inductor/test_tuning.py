"""mode="max-autotune": the quickest way is taken, remembered, and computes the same."""

from dataclasses import replace

import numpy as np
import pytest

import flambeau as fl
from inductor import tuning, ways
from inductor.templates import gemm
from inductor.templates.image import Convolution
from inductor.templates.problem import Problem
from inductor.tuning import Way

nn = fl.nn


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """Nothing is known, and what is found is kept elsewhere."""
    from inductor import config

    monkeypatch.setattr(tuning, "_found", {})
    monkeypatch.setitem(config._set, "cache", str(tmp_path / "kernels"))
    fl.compiler.reset()


def slow(times):
    """A way that takes so many times as long."""
    return Way(f"{times} times", list, (1,))


def test_the_quickest_is_found_and_remembered(monkeypatch):
    measured = []

    def measure(way):
        measured.append(way.name)
        return float(way.name.split()[0])

    monkeypatch.setattr(tuning, "measure", measure)
    assert tuning.quickest("a question", [slow(40), slow(1)]) == "1 times"
    assert measured == ["40 times", "1 times"]
    assert tuning.quickest("a question", [slow(40), slow(1)]) == "1 times" and len(measured) == 2
    tuning._found.clear()  # a new process, which finds it in the cache
    assert tuning.quickest("a question", [slow(40), slow(1)]) == "1 times" and len(measured) == 2
    assert tuning.quickest("another", [slow(2)]) == "2 times" and len(measured) == 2


def test_a_way_that_fails_is_not_taken(monkeypatch):
    found = {"winograd": float("inf"), "direct": 1.0}
    monkeypatch.setattr(tuning, "measure", lambda way: found[way.name])
    made = [Way(name, list, (1,)) for name in found]
    assert tuning.quickest("one of two", made) == "direct"


CONVOLUTIONS = {
    "square": Convolution(2, 32, 12, 14, 48, (3, 3), padding=(1, 1)),
    "matrix": Convolution(2, 48, 9, 8, 64, (1, 1)),
    "strided": Convolution(1, 32, 11, 12, 40, (3, 3), (2, 2), (1, 1)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("turn", [False, True])
def test_every_way_can_be_timed(name, kept, turn):
    conv = CONVOLUTIONS[name]
    possible = ["direct"] + ["winograd"] * (name == "square") + ["product"] * (name == "matrix")
    for way in possible:
        assert 0 < tuning.measure(ways.image(way, conv, kept, turn)) < np.inf
        assert 0 < tuning.measure(ways.sums(way, conv)) < np.inf


def gradients(run, model, x):
    """Those of the input and the parameters."""
    model.zero_grad()
    x.grad = None
    run(x).square().sum().backward()
    return [x.grad, *(p.grad for p in model.parameters())]


PRODUCTS = {
    "one": Problem(30, 70, 20, (20, 1), (70, 1), (70, 1)),
    "few rows": Problem(3, 100, 64, (64, 1), (1, 64), (100, 1)),
    "batched": Problem(9, 40, 16, (1, 9), (40, 1), (80, 1), ((3, 144, 640, 720), (2, 432, 1920, 40))),
    "double": Problem(17, 33, 12, (12, 1), (1, 12), (33, 1), dtype="float64"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", PRODUCTS)
def test_every_tile_of_a_product_can_be_timed(name, packed):
    problem = replace(PRODUCTS[name], packed=packed and not PRODUCTS[name].batch)
    found = gemm.candidates(problem)
    assert found[0] == problem and len(set(found)) == len(found) > 1
    for candidate in found:
        assert 0 < tuning.measure(ways.product("", candidate)) < np.inf


def test_every_tile_of_a_product_computes_the_same(monkeypatch):
    fl.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 200), nn.GELU(), nn.Linear(200, 72), nn.ReLU(), nn.Linear(72, 19))
    x, asked = fl.randn(37, 40, requires_grad=True), []
    for place in range(4):

        def choose(question, found, place=place):
            asked.append(question)
            return found[min(place, len(found) - 1)].name

        monkeypatch.setattr(tuning, "quickest", choose)
        fl.compiler.reset()
        compiled = fl.compile(model, mode="max-autotune")
        with fl.no_grad():
            np.testing.assert_allclose(compiled(x), model(x), rtol=1e-5, atol=1e-5)
        for mine, wanted in zip(*(gradients(run, model, x) for run in (compiled, model)), strict=True):
            np.testing.assert_allclose(mine.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-4)
    assert all(question.startswith("product") for question in asked) and len(asked) == 4 * (3 + 3 + 6)


def network():
    fl.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 48, 3, padding=1),
        nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, 64, 1), nn.Conv2d(64, 64, 3, 2, 1),
        nn.Conv2d(64, 64, 3, padding=1, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


@pytest.mark.parametrize("preferred", ["direct", "winograd", "product"])
def test_whatever_is_chosen_computes_the_same(preferred, monkeypatch):
    asked = []

    def choose(question, found):
        names = [way.name for way in found]
        asked.append((question, names))
        return preferred if preferred in names else names[0]

    monkeypatch.setattr(tuning, "quickest", choose)
    model, image = network(), fl.randn(2, 3, 16, 16, requires_grad=True)
    compiled = fl.compile(model, mode="max-autotune")
    with fl.no_grad():
        model.eval()
        np.testing.assert_allclose(compiled(image), model(image), rtol=2e-4, atol=2e-4)
        model.train()
    for mine, wanted in zip(*(gradients(run, model, image) for run in (compiled, model)), strict=True):
        scale = max(float(np.abs(wanted.numpy()).max()), 1e-2)  # a bias before batch norm has none
        np.testing.assert_allclose(mine.numpy(), wanted.numpy(), rtol=1e-3, atol=1e-3 * scale)
    assert any(preferred in names for _, names in asked)
    kinds = {question.split(" ")[0] for question, _ in asked}
    assert kinds - {"product"} == {"forward", "input", "weight"}


def test_other_modes_ask_nothing(monkeypatch):
    monkeypatch.setattr(tuning, "quickest", lambda *_: pytest.fail("asked"))
    model = network().eval()
    with fl.no_grad():
        fl.compile(model)(fl.randn(1, 3, 16, 16))
        fl.compile(model, mode="reduce-overhead")(fl.randn(1, 3, 16, 16))


def test_the_option_is_known():
    model = network().eval()
    with fl.no_grad():
        image = fl.randn(1, 3, 16, 16)
        found = fl.compile(model, options={"max_autotune": True})(image)
        np.testing.assert_allclose(found, model(image), rtol=2e-4, atol=2e-4)
    with pytest.raises(RuntimeError, match="Unexpected optimization option"):
        fl.compile(model, options={"max_autotunes": True})
