"""R3D-18, a residual network over videos (Tran and others, 2018): convolutions in three dimensions, on 8 frames of 112x112."""

import numpy as np
from torch import nn
from torch.nn import functional as F

BATCH = {"inference": 1, "training": 2}


class Block(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.first = nn.Conv3d(before, after, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm3d(after)
        self.second = nn.Conv3d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm3d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv3d(before, after, 1, stride, bias=False), nn.BatchNorm3d(after)
            )

    def forward(self, x):
        out = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(out)) + self.shortcut(x))


class R3D(nn.Module):
    def __init__(self, classes=400, widths=(64, 128, 256, 512)):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, widths[0], (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
            nn.BatchNorm3d(widths[0]),
            nn.ReLU(),
        )
        blocks = []
        for before, after in zip((widths[0], *widths), widths):
            blocks += [Block(before, after, 1 if before == after else 2), Block(after, after, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3, 4)))


def build():
    return R3D()


def inputs(batch):
    rng = np.random.default_rng(0)
    videos = rng.standard_normal((batch, 3, 8, 112, 112), dtype=np.float32)
    return videos, rng.integers(0, 400, (batch,), dtype=np.int64)


def loss(output, videos, target):
    return F.cross_entropy(output, target)


ARGUMENTS = 1
