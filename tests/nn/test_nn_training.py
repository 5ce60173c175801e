"""Whole models trained side by side with torch from the same weights: the loss curves must be the same."""

import numpy as np
import pytest

from eager import nn, optim
from eager.construct import from_numpy


class Residual:
    """A small residual network, a language model and a recurrent classifier, for either library."""

    @staticmethod
    def network(nn):
        class Block(nn.Module):
            def __init__(self, width):
                super().__init__()
                self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
                self.norm = nn.BatchNorm2d(width)

            def forward(self, x):
                return nn.functional.relu(self.norm(self.conv(x)) + x, inplace=True)

        return nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            Block(8),
            nn.MaxPool2d(2),
            nn.GroupNorm(2, 8),
            Block(8),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        )

    @staticmethod
    def language(nn):
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        return nn.Sequential(nn.Embedding(12, 16), layer, nn.LayerNorm(16), nn.Linear(16, 4))

    @staticmethod
    def recurrent(nn):
        class Last(nn.Module):
            def __init__(self):
                super().__init__()
                self.table = nn.Embedding(12, 8)
                self.lstm = nn.LSTM(8, 8, batch_first=True, bidirectional=True)
                self.out = nn.Linear(16, 4)

            def forward(self, x):
                return self.out(self.lstm(self.table(x))[0][:, -1])

        return Last()


IMAGES = np.random.default_rng(0).standard_normal((8, 1, 12, 12)).astype(np.float32)
WORDS = np.random.default_rng(1).integers(0, 12, (8, 6))
CLASSES = np.random.default_rng(2).integers(0, 4, 8)


def _curve(model, nn, optim, convert, inputs, name):
    optimizer = getattr(optim, name)(model.parameters(), lr=0.01, weight_decay=0.01)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        found = model(convert(inputs))
        found = found.mean(1) if found.ndim == 3 else found
        loss = nn.functional.cross_entropy(found, convert(CLASSES), label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "kind, inputs, optimizer",
    [
        ("network", IMAGES, "SGD"),
        ("network", IMAGES, "AdamW"),
        ("language", WORDS, "Adam"),
        ("recurrent", WORDS, "RMSprop"),
    ],
)
def test_the_same_curve(kind, inputs, optimizer):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = getattr(Residual, kind)(torch.nn)
    mine = getattr(Residual, kind)(nn)
    mine.load_state_dict({k: from_numpy(v.numpy().copy()) for k, v in theirs.state_dict().items()})
    other = _curve(theirs, torch.nn, torch.optim, torch.from_numpy, inputs, optimizer)
    ours = _curve(mine, nn, optim, from_numpy, inputs, optimizer)
    np.testing.assert_allclose(ours, other, atol=1e-3)
    assert ours[-1] < ours[0]
    for (name, a), b in zip(mine.state_dict().items(), theirs.state_dict().values()):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=5e-3, err_msg=name)
