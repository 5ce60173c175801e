"""BERT-base from transformers' own source, unchanged: 12 layers of 768, 110 M parameters, 128 tokens; random weights, no dropout."""

import numpy as np
from torch import nn
from torch.nn import functional as F
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForMaskedLM

BATCH = {"inference": 1, "training": 1}
TOKENS = 128


class Scores(nn.Module):
    """The model's scores alone, which is what the peers' exporters can hand on."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model(tokens, return_dict=False)[0]


def build():
    config = BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return Scores(BertForMaskedLM(config))


def inputs(batch):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 30522, (2, batch, TOKENS), dtype=np.int64)
    return tokens[0], tokens[1]


def loss(output, tokens, target):
    return F.cross_entropy(output.view(-1, output.shape[-1]), target.view(-1))


ARGUMENTS = 1
