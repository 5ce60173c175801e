"""What a run reports: one row per model and mode, as a CSV file, as a table, and as a line of progress while it works."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Any

# The first block is the columns of PyTorch's dynamo runner; the second compares with torch in the same run.
COLUMNS = (
    "dev",
    "name",
    "batch_size",
    "mode",
    "backend",
    "speedup",
    "abs_latency",
    "compilation_latency",
    "compression_ratio",
    "eager_peak_mem",
    "dynamo_peak_mem",
    "packed_weights_mem",
    "calls_captured",
    "unique_graphs",
    "graph_breaks",
    "unique_graph_breaks",
    "p10",
    "p90",
    "threads",
    "loadavg",
    "break_even_calls",
    "eager_latency",
    "torch_eager_latency",
    "torch_compiled_latency",
    "torch_compilation_latency",
    "speedup_over_torch_eager",
    "speedup_over_torch_compiled",
    "onnxruntime_latency",
    "onnxruntime_compilation_latency",
    "onnxruntime_error",
    "openvino_latency",
    "openvino_compilation_latency",
    "openvino_error",
    "jax_latency",
    "jax_compilation_latency",
    "jax_error",
    "best_peer",
    "speedup_over_best_peer",
    "peers",
    "status",
)
ACCURACY_COLUMNS = (
    "dev",
    "name",
    "batch_size",
    "mode",
    "backend",
    "accuracy",
    "error",
    "where",
    "torch_error",
    "torch_where",
    "double_error",
    "eager_double_error",
    "unique_graphs",
    "graph_breaks",
    "status",
)


def cell(value: Any) -> str:
    """A value as it stands in the file: figures with four significant digits, nothing for what was not measured."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


PEERS = ("onnxruntime", "openvino", "jax")


class Rows:
    """The rows so far; the file is written anew after each, so that an interrupted run keeps what it has."""

    def __init__(self, path: Path | None, columns: tuple[str, ...]):
        self.path, self.columns = path, columns
        self.rows: list[dict[str, Any]] = []
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, row: dict[str, Any]) -> None:
        unknown = row.keys() - set(self.columns)
        if unknown:
            raise KeyError(f"no column {sorted(unknown)}")
        self.rows.append(row)
        if self.path is None:
            return
        with open(self.path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows([cell(row.get(column)) for column in self.columns] for row in self.rows)


TABLE = (
    ("name", "model", 1),
    ("mode", "mode", 1),
    ("batch_size", "batch", 1),
    ("eager_latency", "eager ms", 1e3),
    ("abs_latency", "compiled ms", 1e3),
    ("speedup", "speedup", 1),
    ("compilation_latency", "compile s", 1),
    ("unique_graphs", "graphs", 1),
    ("graph_breaks", "breaks", 1),
    ("torch_eager_latency", "torch ms", 1e3),
    ("torch_compiled_latency", "torch.compile ms", 1e3),
    ("torch_compilation_latency", "torch compile s", 1),
    ("onnxruntime_latency", "onnxruntime ms", 1e3),
    ("openvino_latency", "openvino ms", 1e3),
    ("jax_latency", "jax ms", 1e3),
    ("best_peer", "best peer", 1),
    ("speedup_over_best_peer", "over it", 1),
    ("status", "status", 1),
)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text, without the columns that no row fills."""
    shown = [entry for entry in TABLE if any(row.get(entry[0]) is not None for row in rows)]
    cells = [[title for _, title, _ in shown]]
    for row in rows:
        cells.append([_shown(row.get(key), scale) for key, _, scale in shown])
    widths = [max(len(line[column]) for line in cells) for column in range(len(shown))]
    lines = ["  ".join(text.rjust(width) for text, width in zip(line, widths)) for line in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


DOCUMENT = (
    ("name", "model", 1),
    ("batch_size", "batch", 1),
    ("eager_latency", "eager", 1e3),
    ("abs_latency", "compiled", 1e3),
    ("torch_eager_latency", "torch eager", 1e3),
    ("torch_compiled_latency", "torch.compile", 1e3),
    ("onnxruntime_latency", "ONNX Runtime", 1e3),
    ("openvino_latency", "OpenVINO", 1e3),
    ("jax_latency", "JAX", 1e3),
    ("best_peer", "best peer", 1),
    ("speedup_over_best_peer", "times it", 1),
    ("eager_peak_mem", "eager MB", 1e3),
    ("dynamo_peak_mem", "compiled MB", 1e3),
    ("packed_weights_mem", "packed weights MB", 1e3),
    ("status", "", 1),
)


def document(rows: list[dict[str, Any]]) -> list[str]:
    """The rows in Markdown: a table per mode, then what peers could not run, then the geometric means."""
    lines: list[str] = []
    refused: dict[str, list[str]] = {}
    for mode in dict.fromkeys(row["mode"] for row in rows):
        found = [row for row in rows if row["mode"] == mode and row["backend"] not in PEERS]
        shown = [e for e in DOCUMENT if any(row.get(e[0]) is not None for row in found)]
        if all(row["status"] == "ok" for row in found):
            shown = [entry for entry in shown if entry[0] != "status"]
        lines += [f"### {mode.capitalize()}", "", f"| {' | '.join(title for _, title, _ in shown)} |"]
        lines.append("|" + "---|" * len(shown))
        for row in found:
            lines.append(f"| {' | '.join(_shown(row.get(key), scale) for key, _, scale in shown)} |")
        lines.append("")
    for row in rows:
        if row["backend"] in PEERS:
            refused.setdefault(f"{row['status']} ({row['mode']})", []).append(row["name"])
    lines += [f"- {reason}: {', '.join(names)}" for reason, names in refused.items()]
    return [*lines, "", *(f"- {line}" for line in summary(rows))]


def _shown(value: Any, scale: float) -> str:
    if isinstance(value, float) and not math.isnan(value):
        return f"{value * scale:.2f}"
    return cell(value) or "-"


def geometric_mean(values: list[float]) -> float:
    """The geometric mean; not a number where there is nothing to average."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """The geometric means of what compiled code gains, by mode, over whatever was measured."""
    lines = []
    runtimes = ("onnxruntime_latency", "openvino_latency")
    for mode in dict.fromkeys(row["mode"] for row in rows):
        found: dict[str, list[float]] = {}
        for row in rows:
            if row["mode"] != mode or not row.get("abs_latency"):
                continue
            latency = row["abs_latency"]
            others = {
                "flambeau eager": row["eager_latency"],
                "torch eager": row.get("torch_eager_latency"),
                "torch.compile": row.get("torch_compiled_latency"),
                "the better of ONNX Runtime and OpenVINO": min(
                    (row[key] for key in runtimes if row.get(key)), default=None
                ),
                "JAX": row.get("jax_latency"),
            }
            for name, other in others.items():
                if other:
                    found.setdefault(name, []).append(other / latency)
        lines += [
            f"{mode}: {geometric_mean(gains):.2f}x over {name}, geometric mean of {len(gains)}"
            for name, gains in found.items()
        ]
    return lines


class Progress:
    """One line on the terminal that says what is happening; plain lines, one per step, where the output is no terminal."""

    def __init__(self, total: int, stream: Any = sys.stderr):
        self.total, self.done, self.stream = total, 0, stream
        self.live = stream.isatty()
        self.last = ""

    def step(self, text: str) -> None:
        """Announce what starts now."""
        self.last = text
        self._write(text)

    def round(self, done: int, total: int) -> None:
        if self.live:
            self._write(f"{self.last} {done}/{total}")

    def finish(self, text: str = "") -> None:
        """One of the `total` pieces of work is done."""
        self.done += 1
        if text:
            self._write(text, end="\n")

    def _write(self, text: str, end: str = "") -> None:
        line = f"[{self.done}/{self.total}] {text}"
        if self.live:
            self.stream.write("\r\x1b[K" + line + end)
        else:
            self.stream.write(line + "\n")
        self.stream.flush()
