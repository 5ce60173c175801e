"""A U-Net of four levels, 16 to 128 channels, on images of 128x128: skips, pooling, transposed convolutions."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BATCH = {"inference": 1, "training": 2}


class Double(nn.Sequential):
    def __init__(self, before, after):
        super().__init__(
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    def __init__(self, colours=3, classes=2, widths=(16, 32, 64, 128)):
        super().__init__()
        self.down = nn.ModuleList(Double(a, b) for a, b in zip((colours, *widths), widths))
        wide, narrow = widths[:0:-1], widths[-2::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in zip(wide, narrow))
        self.merge = nn.ModuleList(Double(a, b) for a, b in zip(wide, narrow))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for place, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if place else x)
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1))
        return self.head(x)


def build():
    return UNet()


def inputs(batch):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, 3, 128, 128), dtype=np.float32)
    return images, rng.integers(0, 2, (batch, 128, 128), dtype=np.int64)


def loss(output, images, target):
    return F.cross_entropy(output, target)


ARGUMENTS = 1
