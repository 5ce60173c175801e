"""LeNet for 8x8 digits: two convolutions with pooling, three linear layers."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BATCH = {"inference": 8, "training": 64}


class LeNet(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * 2 * 2, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def build():
    return LeNet()


def inputs(batch):
    """Real digits as images of one channel, and their classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:batch, None] / 16).astype(np.float32)
    return images, digits.target[:batch].astype(np.int64)


def loss(output, x, target):
    return F.cross_entropy(output, target)


ARGUMENTS = 1
