"""A multilayer perceptron: four layers of 256, ten classes."""

import numpy as np
from torch import nn
from torch.nn import functional as F

BATCH = {"inference": 8, "training": 64}


class MLP(nn.Module):
    def __init__(self, features=64, width=256, depth=4, classes=10):
        super().__init__()
        sizes = [features] + [width] * (depth - 1)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        for layer in self.hidden:
            x = F.gelu(layer(x))
        return self.head(x)


def build():
    return MLP()


def inputs(batch):
    """Real digits: 8x8 pixels scaled to 0..1, and their classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.data[:batch] / 16).astype(np.float32), digits.target[:batch].astype(np.int64)


def loss(output, x, target):
    return F.cross_entropy(output, target)


ARGUMENTS = 1  # the model takes the first input, the loss all of them
