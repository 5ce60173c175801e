"""A model of torch as an ONNX file: by the exporter that traces with dynamo, or by the one that traces by running."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

from benchmarks.case import Case
from benchmarks.peers.peer import Unsupported, reason


def onnx_file(case: Case, folder: Path) -> Path:
    """The case's model as a file in `folder`, made once. Raises Unsupported where neither exporter can."""
    if case.library.name != "torch":
        raise Unsupported("only a model of torch is exported")
    if case.training:
        raise Unsupported("inference only")
    path = folder / f"{case.name}.onnx"
    if path.exists():
        return path
    problems = []
    for dynamo in (True, False):
        try:
            _export(case, path, dynamo)
            return path
        except Exception as error:
            path.unlink(missing_ok=True)
            problems.append(f"{'dynamo' if dynamo else 'script'} exporter: {reason(error)}")
    raise Unsupported("; ".join(problems))


def _export(case: Case, path: Path, dynamo: bool) -> None:
    torch: Any = case.library.torch
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    names = [f"input{place}" for place in range(len(case.arguments))]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            case.model, case.arguments, str(path), dynamo=dynamo, input_names=names,
            output_names=["output"], **({"external_data": False} if dynamo else {}),
        )
