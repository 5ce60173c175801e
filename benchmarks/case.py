"""A model to measure: its source loaded under the alias (flambeau) or plainly (torch), with the same weights and inputs in both."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "models"


SOURCES = {
    "mlp": "mlp",
    "lenet": "lenet",
    "dlrm": "dlrm",
    "lstm": "lstm",
    "dcgan": "dcgan",
    "unet": "unet",
    "r3d": "r3d",
    "minilm": "minilm",
    "mobilenetv3_large_100": "image",
    "efficientnet_b0": "image",
    "vit_tiny_patch16_224": "image",
    "resnet18": "image",
    "resnet50": "image",
    "convnext_tiny": "image",
    "bert": "bert",
    "gpt2": "gpt2",
}
"""The models there are, from small to large, and the file of each."""


def names() -> list[str]:
    """The models there are, from small to large."""
    return list(SOURCES)


class Library:
    """flambeau or torch: what a model's source finds when it imports torch."""

    def __init__(self, name: str, threads: int | None = None):
        self.name = name
        if name == "flambeau":
            import flambeau as library
        else:
            import torch as library  # type: ignore[no-redef]
        self.torch: Any = library
        if threads:
            library.set_num_threads(threads)
        if name == "torch":
            _declare_torchvision(library)

    def context(self) -> Any:
        """Where the model's source must run."""
        if self.name != "flambeau":
            return contextlib.nullcontext()
        return self.torch.alias("torch")

    def source(self, model: str) -> ModuleType:
        """The model's file, loaded on this library. Raises ImportError if something that it needs is not installed."""
        spec = importlib.util.spec_from_file_location(f"{self.name}_{model}", FOLDER / f"{SOURCES[model]}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where torch.compile looks for the globals of what it inlines
        with self.context():
            spec.loader.exec_module(module)
        return module

    def reset(self) -> None:
        """Forget what was compiled."""
        (self.torch.compiler if self.name == "flambeau" else self.torch._dynamo).reset()


def _declare_torchvision(torch: Any) -> None:
    """Let torchvision be imported beside a torch that its extension was not built for, as PyPI's is not for a torch without CUDA.

    timm imports torchvision for names that need no extension; without one, torchvision stops at operators it cannot find.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision
    except RuntimeError:
        for module in [module for module in sys.modules if module.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401


class Case:
    """One model on one library, ready to be called: `call()` infers, or makes a training step."""

    def __init__(self, library: Library, name: str, training: bool, batch: int | None = None):
        self.library, self.name, self.training = library, name, training
        self.source = library.source(name)
        self.batch = batch or self.source.BATCH["training" if training else "inference"]
        torch = library.torch
        with library.context():
            torch.manual_seed(0)
            family = SOURCES[name] != name
            self.model = self.source.build(name) if family else self.source.build()
        self.model.train(training)
        self.arrays = self.source.inputs(self.batch)
        self.inputs = tuple(torch.from_numpy(array) for array in self.arrays)
        self.arguments = self.inputs[: self.source.ARGUMENTS]

    def copy_weights(self, other: Case) -> None:
        """Take the weights of the same model on the other library."""
        torch = self.library.torch
        state = {
            name: torch.from_numpy(np.array(value.detach().numpy()))
            for name, value in other.model.state_dict().items()
        }
        self.model.load_state_dict(state)

    def double(self) -> Case:
        """The same model, weights and inputs in double precision: what single precision is judged by."""
        twin = Case(self.library, self.name, self.training, self.batch)
        twin.model.load_state_dict(self.model.state_dict())
        twin.model.double()
        torch = self.library.torch
        arrays = [a.astype(np.float64) if a.dtype == np.float32 else a for a in self.arrays]
        twin.inputs = tuple(torch.from_numpy(array) for array in arrays)
        twin.arguments = twin.inputs[: self.source.ARGUMENTS]
        return twin

    @property
    def forward(self) -> Callable[..., Any]:
        """What runs eagerly or compiled: the model, and in training its loss too, as in PyTorch's runner."""
        if not self.training:
            return self.model
        model, loss, count = self.model, self.source.loss, self.source.ARGUMENTS

        def learn(*inputs: Any) -> Any:
            return loss(model(*inputs[:count]), *inputs)

        return learn

    def compiled(self, backend: str) -> Callable[[], Any]:
        """What `caller` gives, compiled: in training the whole step, with its backward pass and its
        optimizer, as in PyTorch's runner.
        """
        if not self.training:
            return self.caller(self.compile(backend))
        return self.library.torch.compile(self.caller(self.forward), backend=backend)

    def compile(self, backend: str) -> Any:
        """`forward`, compiled, sharing the parameters of the eager one."""
        return self.library.torch.compile(self.forward, backend=backend)

    def caller(self, forward: Any) -> Callable[[], Any]:
        """A function that runs `forward`, eager or compiled, once on the inputs; in training, a whole step."""
        torch = self.library.torch
        if not self.training:

            def infer() -> Any:
                with torch.no_grad():
                    return forward(*self.arguments)

            return infer
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4)

        def step() -> Any:
            optimizer.zero_grad()
            loss = forward(*self.inputs)
            loss.backward()
            optimizer.step()
            return loss

        return step

    def outputs(self, forward: Any, backend: str | None = None) -> dict[str, np.ndarray]:
        """The output, or in training the loss and the gradient of every parameter, by name. With a
        backend, forward and backward pass are compiled as one.
        """
        torch = self.library.torch
        if not self.training:
            with torch.no_grad():
                run = forward if backend is None else torch.compile(forward, backend=backend)
                return {"output": np.array(run(*self.arguments).numpy())}

        def learn(*inputs: Any) -> Any:
            loss = forward(*inputs)
            loss.backward()
            return loss

        self.model.zero_grad()
        loss = (learn if backend is None else torch.compile(learn, backend=backend))(*self.inputs)
        found = {"loss": np.array(loss.detach().numpy())}
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                found[f"grad {name}"] = np.array(parameter.grad.numpy())
        return found
