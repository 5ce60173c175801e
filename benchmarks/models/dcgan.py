"""The generator of DCGAN: five transposed convolutions from 100 numbers to an image of 64x64."""

import numpy as np
from torch import nn

BATCH = {"inference": 4, "training": 8}


class Generator(nn.Module):
    def __init__(self, latent=100, width=64, colours=3):
        super().__init__()
        sizes = [8 * width, 4 * width, 2 * width, width]
        layers = []
        before = latent
        for place, size in enumerate(sizes):
            stride, padding = (2, 1) if place else (1, 0)
            layers += [
                nn.ConvTranspose2d(before, size, 4, stride, padding, bias=False),
                nn.BatchNorm2d(size),
                nn.ReLU(inplace=True),
            ]
            before = size
        layers += [nn.ConvTranspose2d(before, colours, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, x):
        return self.main(x)


def build():
    return Generator()


def inputs(batch):
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((batch, 100, 1, 1), dtype=np.float32)
    return noise, rng.standard_normal((batch, 3, 64, 64), dtype=np.float32)


def loss(output, noise, target):
    """A stand-in for a discriminator: the distance from fixed images."""
    return (output - target).pow(2).mean()


ARGUMENTS = 1
