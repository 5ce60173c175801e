"""A recommendation model in the manner of DLRM: bags of categories and dense features, their products, two perceptrons."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BATCH = {"inference": 128, "training": 128}
TABLES, ROWS, WIDTH, DENSE, BAG = 8, 10_000, 64, 13, 4


def perceptron(sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers)


class DLRM(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(ROWS, WIDTH, mode="sum") for _ in range(TABLES))
        self.bottom = perceptron([DENSE, 512, 256, WIDTH])
        pairs = (TABLES + 1) * TABLES // 2
        self.top = perceptron([WIDTH + pairs, 512, 256])
        self.click = nn.Linear(256, 1)
        rows, columns = np.tril_indices(TABLES + 1, -1)
        self.register_buffer("below", torch.from_numpy(rows * (TABLES + 1) + columns))

    def forward(self, dense, categories):
        x = self.bottom(dense)
        bags = [table(categories[:, place]) for place, table in enumerate(self.tables)]
        features = torch.stack([x, *bags], dim=1)
        products = torch.bmm(features, features.transpose(1, 2)).flatten(1)
        products = torch.index_select(products, 1, self.below)
        return self.click(self.top(torch.cat([x, products], dim=1))).squeeze(1)


def build():
    return DLRM()


def inputs(batch):
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((batch, DENSE), dtype=np.float32)
    categories = rng.integers(0, ROWS, (batch, TABLES, BAG), dtype=np.int64)
    return dense, categories, rng.integers(0, 2, batch).astype(np.float32)


def loss(output, dense, categories, target):
    return F.binary_cross_entropy_with_logits(output, target)


ARGUMENTS = 2
