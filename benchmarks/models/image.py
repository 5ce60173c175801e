"""Image classifiers from timm's own source, unchanged, on random images of 224x224."""

import numpy as np
import timm
from torch.nn import functional as F

BATCH = {"inference": 1, "training": 4}


def build(name):
    return timm.create_model(name, pretrained=False)


def inputs(batch):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, 3, 224, 224), dtype=np.float32)
    return images, rng.integers(0, 1000, batch, dtype=np.int64)


def loss(output, images, target):
    return F.cross_entropy(output, target)


ARGUMENTS = 1
