"""Programs of layers, one graph each: outputs and every gradient as torch's, eager and compiled."""

import numpy as np
import pytest

import flambeau

LAYERS = {
    "encoder": (
        lambda nn: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True),
            2,
            enable_nested_tensor=False,
        ),
        [(2, 5, 16)],
    ),
    "transformer": (
        lambda nn: nn.Transformer(16, 2, 1, 1, 32, dropout=0.0, batch_first=True),
        [(2, 5, 16), (2, 4, 16)],
    ),
    "attention": (lambda nn: nn.MultiheadAttention(16, 4, batch_first=True), [(2, 5, 16)] * 3),
    "lstm": (
        lambda nn: nn.LSTM(16, 8, 2, batch_first=True, bidirectional=True),
        [(2, 5, 16)],
    ),
    "gru": (lambda nn: nn.GRU(16, 8, batch_first=True), [(2, 5, 16)]),
    "convolutions": (
        lambda nn: nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            nn.Conv2d(8, 8, 3, groups=8, padding=1),
            nn.GroupNorm(2, 8),
            nn.Hardswish(),
            nn.ConvTranspose2d(8, 4, 2, stride=2, bias=False),
            nn.InstanceNorm2d(4),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 5),
            nn.LogSoftmax(-1),
        ),
        [(2, 3, 16, 16)],
    ),
    "images": (
        lambda nn: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.AvgPool2d(2),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.PixelUnshuffle(2),
            nn.PReLU(),
            nn.Conv2d(16, 4, 1),
            nn.PixelShuffle(2),
        ),
        [(2, 3, 8, 8)],
    ),
    "activations": (
        lambda nn: nn.Sequential(
            nn.Linear(16, 16), nn.ELU(), nn.SELU(), nn.Mish(), nn.Softplus(), nn.Tanhshrink(),
            nn.Softsign(), nn.GLU(), nn.Hardtanh(), nn.LogSigmoid(), nn.Softmin(-1), nn.RMSNorm(8),
        ),
        [(3, 16)],
    ),
    "sequences": (
        lambda nn: nn.Sequential(
            nn.Conv1d(4, 8, 3, padding="same"),
            nn.MaxPool1d(2),
            nn.Conv1d(8, 8, 3, padding=2, padding_mode="circular"),
            nn.AdaptiveMaxPool1d(3),
            nn.Flatten(),
            nn.Linear(24, 3),
        ),
        [(2, 4, 12)],
    ),
}  # fmt: skip


def flat(outputs):
    if not isinstance(outputs, (tuple, list)):
        return [outputs]
    return [each for part in outputs if part is not None for each in flat(part)]


def step(library, model, call, arrays):
    """Outputs, and gradients of inputs and parameters of a loss in which every element has its weight."""
    model.zero_grad()
    inputs = [library.from_numpy(array.copy()).requires_grad_() for array in arrays]
    outputs = flat(call(*inputs))
    loss = 0
    for output in outputs:
        loss = loss + (output * library.linspace(-1, 2, output.numel()).view(output.shape)).sum()
    loss.backward()
    leaves = [*inputs, *model.parameters()]
    return [o.detach().numpy() for o in outputs] + [leaf.grad.numpy() for leaf in leaves]


def check(name, backend):
    torch = pytest.importorskip("torch")
    make, shapes = LAYERS[name]
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal(shape, dtype=np.float32) for shape in shapes]
    flambeau.manual_seed(0)
    model, peer = make(flambeau.nn), make(torch.nn)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    peer.load_state_dict({key: torch.from_numpy(value.numpy()) for key, value in state.items()})
    expected = step(torch, peer, peer, arrays)
    call = model
    if backend is not None:
        call = flambeau.compile(model, backend=backend, fullgraph=True)
    found = step(flambeau, model, call, arrays)
    for mine, other in zip(found, expected, strict=True):
        assert mine.shape == other.shape
        assert np.abs(mine - other).max() <= 1e-4 * max(np.abs(other).max(), 1.0)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("backend", [None, "aot_eager"], ids=["eager", "aot_eager"])
def test_layers(name, backend):
    check(name, backend)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_layers_native(name):
    check(name, "inductor")
