"""A language model of two LSTM layers of 256 over 32 tokens, vocabulary 10,000."""

import numpy as np
from torch import nn
from torch.nn import functional as F

BATCH = {"inference": 1, "training": 8}
TOKENS, VOCABULARY = 32, 10_000


class LanguageModel(nn.Module):
    def __init__(self, width=256, layers=2):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.lstm = nn.LSTM(width, width, num_layers=layers, batch_first=True)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, tokens):
        states, _ = self.lstm(self.embedding(tokens))
        return self.head(states)


def build():
    return LanguageModel()


def inputs(batch):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, VOCABULARY, (batch, TOKENS + 1), dtype=np.int64)
    return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])


def loss(output, tokens, target):
    return F.cross_entropy(output.view(-1, output.shape[-1]), target.view(-1))


ARGUMENTS = 1
