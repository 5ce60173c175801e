"""JAX (XLA on the CPU): the perceptron and the GPT written for it, one jitted function for inference and one for a training step.

XLA takes as many threads as the process may use processors; `benchmarks.__main__` restricts those to the number asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Case
from benchmarks.peers.peer import Prepared, Unsupported

RATE = 1e-4
"""The step that `Case.caller` takes along the gradient."""

Parameters = dict[str, Any]


def linear(p: Parameters, name: str, x: Any) -> Any:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def perceptron(p: Parameters, x: Any) -> Any:
    import jax

    for layer in range(3):
        x = jax.nn.gelu(linear(p, f"hidden.{layer}", x), approximate=False)
    return linear(p, "head", x)


def layer_norm(p: Parameters, name: str, x: Any) -> Any:
    import jax

    centred = x - x.mean(-1, keepdims=True)
    scale = jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
    return centred * scale * p[f"{name}.weight"] + p[f"{name}.bias"]


def attention(p: Parameters, name: str, x: Any, heads: int = 12) -> Any:
    import jax
    import jax.numpy as jnp

    batch, tokens, width = x.shape
    parts = jnp.split(linear(p, f"{name}.c_attn", x), 3, axis=-1)
    q, k, v = (part.reshape(batch, tokens, heads, -1).transpose(0, 2, 1, 3) for part in parts)
    scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(width // heads)
    causal = jnp.tril(jnp.ones((tokens, tokens), bool))
    weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
    return linear(p, f"{name}.c_proj", (weights @ v).transpose(0, 2, 1, 3).reshape(x.shape))


def gpt(p: Parameters, tokens: Any, layers: int = 12) -> Any:
    import jax

    x = p["wte.weight"][tokens] + p["wpe.weight"][: tokens.shape[1]]
    for layer in range(layers):
        name = f"h.{layer}"
        x = x + attention(p, f"{name}.attn", layer_norm(p, f"{name}.ln_1", x))
        inner = linear(p, f"{name}.c_fc", layer_norm(p, f"{name}.ln_2", x))
        x = x + linear(p, f"{name}.c_proj", jax.nn.gelu(inner, approximate=True))
    return layer_norm(p, "ln_f", x) @ p["wte.weight"].T


MODELS: dict[str, Callable] = {"mlp": perceptron, "gpt2": gpt}


def cross_entropy(scores: Any, target: Any) -> Any:
    import jax

    logs = jax.nn.log_softmax(scores.reshape(-1, scores.shape[-1]), axis=-1)
    flat = target.reshape(-1)
    return -logs[np.arange(flat.shape[0]), flat].mean()


class Jax:
    name = "jax"

    def prepare(self, case: Case, threads: int, folder: Path) -> Prepared:
        """The model's function, compiled. Raises Unsupported for a model that nobody wrote for JAX."""
        import jax

        model = MODELS.get(case.name)
        if model is None:
            raise Unsupported(f"written for {' and '.join(MODELS)} only")
        state = case.model.state_dict()
        parameters = {key: jax.device_put(np.array(value.numpy())) for key, value in state.items()}
        arrays = [
            jax.device_put(a.astype(np.int32) if a.dtype == np.int64 else a) for a in case.arrays
        ]
        make = self._training if case.training else self._inference
        start = time.perf_counter()
        call, outputs = make(model, parameters, arrays)
        return Prepared(call, outputs, f"jax {jax.__version__}", time.perf_counter() - start)

    def _inference(self, model: Callable, parameters: Parameters, arrays: list) -> Any:
        import jax

        run = jax.jit(model).lower(parameters, arrays[0]).compile()

        def call() -> Any:
            return run(parameters, arrays[0]).block_until_ready()

        return call, lambda result: {"output": np.asarray(result)}

    def _training(self, model: Callable, parameters: Parameters, arrays: list) -> Any:
        import jax

        def step(p: Parameters, x: Any, target: Any) -> Any:
            loss, gradients = jax.value_and_grad(
                lambda q: cross_entropy(model(q, x), target)
            )(p)
            return loss, jax.tree.map(lambda value, slope: value - RATE * slope, p, gradients)

        run = jax.jit(step, donate_argnums=0).lower(parameters, *arrays).compile()
        held = [parameters]

        def call() -> Any:
            loss, held[0] = run(held[0], *arrays)
            jax.block_until_ready(held[0])
            return loss

        return call, lambda result: {"loss": np.asarray(result)}


PEER = Jax()
