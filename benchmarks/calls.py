"""The calls that models make most: the first 60 names of a census of 164 models by the number of models
that make them, attributes and assertions aside, then some of those that follow. Each is a function
of the library, a source of inputs and a number of elements; it gives the call to time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

CALLS: dict[str, Callable] = {}
DIFFERENTIABLE: list[str] = []  # those whose result has a gradient
COUNT = 60


def call(differentiable: bool = True) -> Callable:
    """Enter a call in the list, under the name of its function."""

    def enter(function: Callable) -> Callable:
        name = function.__name__.removeprefix("call_")
        CALLS[name] = function
        if differentiable:
            DIFFERENTIABLE.append(name)
        return function

    return enter


class Inputs:
    """Tensors of one library, the same values in every library; `floats` records gradients if asked."""

    def __init__(self, library: Any, gradients: bool):
        self.library, self.gradients = library, gradients
        self.random = np.random.default_rng(0)
        self.leaves: list[Any] = []

    def floats(self, *shape: int) -> Any:
        made = self.plain(*shape)
        if self.gradients:
            made.requires_grad_()
            self.leaves.append(made)
        return made

    def plain(self, *shape: int) -> Any:
        return self.library.from_numpy(self.random.standard_normal(shape, dtype=np.float32))

    def integers(self, high: int, *shape: int) -> Any:
        return self.library.from_numpy(self.random.integers(0, high, shape))

    def mask(self, *shape: int) -> Any:
        return self.library.from_numpy(self.random.random(shape) < 0.5)

    def writable(self, *shape: int) -> Callable[[], Any]:
        """What to write into: one tensor again and again, or a fresh copy where gradients are recorded."""
        made = self.floats(*shape)
        return made.clone if self.gradients else lambda: made


def side(n: int) -> int:
    return math.isqrt(n)


def image(n: int) -> tuple[int, int, int, int]:
    """A batch of one: channels and pixels as in the middle of a network."""
    return {100: (1, 4, 5, 5), 10_000: (1, 16, 25, 25), 1_000_000: (1, 64, 125, 125)}[n]


def heads(n: int) -> tuple[int, int, int, int]:
    """Batch, heads, tokens, width of a head."""
    return {100: (1, 2, 5, 10), 10_000: (1, 4, 50, 50), 1_000_000: (4, 10, 250, 100)}[n]


# -- the 60 ----------------------------------------------------------------------------------------


@call()
def linear(t, make, n):
    x, w, b = make.floats(side(n), side(n)), make.floats(side(n), side(n)), make.floats(side(n))
    F = t.nn.functional
    return lambda: F.linear(x, w, b)


@call()
def add(t, make, n):
    x, y = make.floats(side(n), side(n)), make.floats(side(n), side(n))
    return lambda: x + y


@call()
def dropout(t, make, n):
    x, F, training = make.floats(side(n), side(n)), t.nn.functional, make.gradients
    return lambda: F.dropout(x, 0.1, training)


@call()
def mul(t, make, n):
    x, y = make.floats(side(n), side(n)), make.floats(side(n), side(n))
    return lambda: x * y


@call()
def getitem(t, make, n):
    x, half = make.floats(side(n), side(n)), side(n) // 2
    return lambda: x[:, :half]


@call()
def transpose(t, make, n):
    x = make.floats(*heads(n))
    return lambda: x.transpose(1, 2)


@call()
def conv2d(t, make, n):
    shape = image(n)
    x, w = make.floats(*shape), make.floats(shape[1], shape[1], 3, 3)
    F = t.nn.functional
    return lambda: F.conv2d(x, w, None, 1, 1)


@call()
def view(t, make, n):
    x, (b, h, s, d) = make.floats(*heads(n)), heads(n)
    return lambda: x.view(b, h * s, d)


@call()
def add_(t, make, n):
    x, y = make.writable(side(n), side(n)), make.floats(side(n), side(n))
    return lambda: x().add_(y)


@call(differentiable=False)
def size(t, make, n):
    x = make.floats(*heads(n))
    return lambda: x.size(-1)


@call()
def layer_norm(t, make, n):
    x, w, b = make.floats(side(n), side(n)), make.floats(side(n)), make.floats(side(n))
    F, shape = t.nn.functional, (side(n),)
    return lambda: F.layer_norm(x, shape, w, b, 1e-5)


@call()
def reshape(t, make, n):
    x, (b, h, s, d) = make.floats(*heads(n)), heads(n)
    return lambda: x.reshape(b * h, s, d)


@call()
def flatten(t, make, n):
    x = make.floats(*image(n))
    return lambda: x.flatten(1)


@call()
def relu(t, make, n):
    x, F = make.floats(side(n), side(n)), t.nn.functional
    return lambda: F.relu(x)


@call()
def contiguous(t, make, n):
    x = make.floats(*heads(n)).transpose(1, 2)
    return lambda: x.contiguous()


@call()
def embedding(t, make, n):
    indices, w = make.integers(1000, side(n)), make.floats(1000, side(n))
    F = t.nn.functional
    return lambda: F.embedding(indices, w)


@call()
def expand(t, make, n):
    x, s = make.floats(side(n), 1), side(n)
    return lambda: x.expand(s, s)


@call()
def cross_entropy(t, make, n):
    x, y, F = make.floats(side(n), side(n)), make.integers(side(n), side(n)), t.nn.functional
    return lambda: F.cross_entropy(x, y)


@call()
def batch_norm(t, make, n):
    x, channels = make.floats(*image(n)), image(n)[1]
    w, b = make.floats(channels), make.floats(channels)
    mean, var = make.plain(channels), make.plain(channels).abs()
    F, training = t.nn.functional, make.gradients
    return lambda: F.batch_norm(x, mean, var, w, b, training, 0.1, 1e-5)


@call(differentiable=False)
def dim(t, make, n):
    x = make.floats(*heads(n))
    return lambda: x.dim()


@call()
def permute(t, make, n):
    x = make.floats(*heads(n))
    return lambda: x.permute(0, 2, 1, 3)


@call()
def gelu(t, make, n):
    x, F = make.floats(side(n), side(n)), t.nn.functional
    return lambda: F.gelu(x)


@call(differentiable=False)
def to(t, make, n):
    x, kind = make.mask(side(n), side(n)), t.float32
    return lambda: x.to(kind)


@call()
def cat(t, make, n):
    x, y = make.floats(side(n), side(n)), make.floats(side(n), side(n))
    return lambda: t.cat([x, y], 1)


@call()
def adaptive_avg_pool2d(t, make, n):
    x, F = make.floats(*image(n)), t.nn.functional
    return lambda: F.adaptive_avg_pool2d(x, 1)


@call(differentiable=False)
def arange(t, make, n):
    return lambda: t.arange(n)


@call()
def mean(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: x.mean(-1, keepdim=True)


@call()
def softmax(t, make, n):
    x, F = make.floats(side(n), side(n)), t.nn.functional
    return lambda: F.softmax(x, dim=-1)


@call()
def unsqueeze(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: x.unsqueeze(1)


@call()
def scaled_dot_product_attention(t, make, n):
    q, k, v = make.floats(*heads(n)), make.floats(*heads(n)), make.floats(*heads(n))
    F = t.nn.functional
    return lambda: F.scaled_dot_product_attention(q, k, v)


@call()
def div(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: x / 8.0


@call(differentiable=False)
def ones(t, make, n):
    s = side(n)
    return lambda: t.ones(s, s)


@call()
def max_pool2d(t, make, n):
    x, F = make.floats(*image(n)), t.nn.functional
    return lambda: F.max_pool2d(x, 3, 2, 1)


@call()
def pad(t, make, n):
    x, F = make.floats(*image(n)), t.nn.functional
    return lambda: F.pad(x, (0, 1, 0, 1))


@call(differentiable=False)
def lt(t, make, n):
    x, y = make.floats(side(n), side(n)), make.floats(side(n), side(n))
    return lambda: x < y


@call(differentiable=False)
def eq(t, make, n):
    x = make.integers(4, side(n), side(n))
    return lambda: x == 0


@call()
def sub(t, make, n):
    x, y = make.floats(side(n), side(n)), make.floats(side(n), side(n))
    return lambda: x - y


@call(differentiable=False)
def call_float(t, make, n):
    x = make.integers(4, side(n), side(n))
    return lambda: x.float()


@call(differentiable=False)
def zeros(t, make, n):
    s = side(n)
    return lambda: t.zeros(s, s)


@call()
def matmul(t, make, n):
    x, y = make.floats(*heads(n)), make.floats(*heads(n)).transpose(-1, -2)
    return lambda: t.matmul(x, y)


@call()
def tanh(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: t.tanh(x)


@call()
def rsub(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: 1.0 - x


@call()
def avg_pool2d(t, make, n):
    x, F = make.floats(*image(n)), t.nn.functional
    return lambda: F.avg_pool2d(x, 2, 2)


@call(differentiable=False)
def setitem(t, make, n):
    x, y = make.plain(side(n), side(n)), make.plain(side(n), side(n) - 1)

    def assign():
        x[:, 1:] = y

    return assign


@call()
def unbind(t, make, n):
    x = make.floats(2, *heads(n))
    return lambda: x.unbind(0)


@call(differentiable=False)
def rand(t, make, n):
    s = side(n)
    return lambda: t.rand(s, s)


@call(differentiable=False)
def full(t, make, n):
    s = side(n)
    return lambda: t.full((s, s), -1e9)


@call()
def bmm(t, make, n):
    (b, h, s, d) = heads(n)
    x, y = make.floats(b * h, s, d), make.floats(b * h, d, s)
    return lambda: t.bmm(x, y)


@call()
def squeeze(t, make, n):
    x = make.floats(side(n), 1, side(n))
    return lambda: x.squeeze(1)


@call()
def silu(t, make, n):
    x, F = make.floats(side(n), side(n)), t.nn.functional
    return lambda: F.silu(x)


@call(differentiable=False)
def is_floating_point(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: x.is_floating_point()


@call()
def masked_fill_(t, make, n):
    x, mask = make.writable(side(n), side(n)), make.mask(side(n), side(n))
    return lambda: x().masked_fill_(mask, 0.0)


@call()
def neg(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: -x


@call()
def call_pow(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: x.pow(2)


@call()
def split(t, make, n):
    x, half = make.floats(side(n), side(n)), side(n) // 2
    return lambda: x.split(half, -1)


@call(differentiable=False)
def gt(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: x > 0


@call()
def clone(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: x.clone()


@call()
def mul_(t, make, n):
    x = make.writable(side(n), side(n))
    return lambda: x().mul_(1.0)


@call()
def sigmoid(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: t.sigmoid(x)


@call(differentiable=False)
def tensor(t, make, n):
    return lambda: t.tensor(0.5)


# -- what follows in the census --------------------------------------------------------------------


@call()
def masked_fill(t, make, n):
    x, mask = make.floats(side(n), side(n)), make.mask(side(n), side(n))
    return lambda: x.masked_fill(mask, -1e9)


@call(differentiable=False)
def ne(t, make, n):
    x, y = make.integers(4, side(n), side(n)), make.integers(4, side(n), side(n))
    return lambda: x != y


@call(differentiable=False)
def call_all(t, make, n):
    x = make.mask(side(n), side(n)) | True
    return lambda: t.all(x)


@call()
def rsqrt(t, make, n):
    x = make.plain(side(n), side(n)).abs()
    if make.gradients:
        make.leaves.append(x.requires_grad_())
    return lambda: t.rsqrt(x)


@call()
def where(t, make, n):
    x, y = make.floats(side(n), side(n)), make.floats(side(n), side(n))
    mask = make.mask(side(n), side(n))
    return lambda: t.where(mask, x, y)


@call()
def stack(t, make, n):
    x, y = make.floats(side(n), side(n)), make.floats(side(n), side(n))
    return lambda: t.stack([x, y], 0)


@call()
def clamp(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: x.clamp(-1.0, 1.0)


@call()
def einsum(t, make, n):
    x, y = make.floats(*heads(n)), make.floats(*heads(n))
    return lambda: t.einsum("bhid,bhjd->bhij", x, y)


@call()
def repeat(t, make, n):
    x, s = make.floats(1, side(n)), side(n)
    return lambda: x.repeat(s, 1)


@call()
def call_sum(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: x.sum()


@call()
def exp(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: t.exp(x)


@call()
def sqrt(t, make, n):
    x = make.plain(side(n), side(n)).abs()
    if make.gradients:
        make.leaves.append(x.requires_grad_())
    return lambda: t.sqrt(x)


@call()
def cumsum(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: t.cumsum(x, -1)


@call(differentiable=False)
def argmax(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: t.argmax(x, -1)


@call(differentiable=False)
def topk(t, make, n):
    x, count = make.plain(side(n), side(n)), min(8, side(n))
    return lambda: t.topk(x, count)


@call()
def gather(t, make, n):
    x, places = make.floats(side(n), side(n)), make.integers(side(n), side(n), side(n))
    return lambda: t.gather(x, 1, places)


@call()
def baddbmm(t, make, n):
    (b, h, s, d) = heads(n)
    x, y, z = make.floats(b * h, s, d), make.floats(b * h, d, s), make.floats(b * h, s, s)
    return lambda: t.baddbmm(z, x, y)


@call()
def log_softmax(t, make, n):
    x, F = make.floats(side(n), side(n)), t.nn.functional
    return lambda: F.log_softmax(x, dim=-1)


@call()
def tril(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: t.tril(x)


@call()
def chunk(t, make, n):
    x = make.floats(side(n), side(n))
    return lambda: x.chunk(2, -1)
