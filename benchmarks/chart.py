"""The bar chart: each model's speed relative to flambeau's eager mode, with its peers beside it where they were measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SERIES = (
    ("flambeau compiled", "abs_latency", "#d95f02"),
    ("torch eager", "torch_eager_latency", "#7570b3"),
    ("torch.compile", "torch_compiled_latency", "#1b9e77"),
    ("ONNX Runtime", "onnxruntime_latency", "#e7298a"),
    ("OpenVINO", "openvino_latency", "#66a61e"),
    ("JAX", "jax_latency", "#e6ab02"),
)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the chart as PNG or SVG, by the file's ending. Raises ImportError without matplotlib, ValueError with no row to draw."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows if row.get("abs_latency")]
    if not rows:
        raise ValueError("there is no measured row to draw")
    series = [entry for entry in SERIES if any(row.get(entry[1]) for row in rows)]
    width = 0.8 / len(series)
    figure, axes = pyplot.subplots(figsize=(max(6.0, 1.3 * len(rows) + 2), 4.2), layout="constrained")
    for index, (label, column, color) in enumerate(series):
        heights = [row["eager_latency"] / row[column] if row.get(column) else 0.0 for row in rows]
        places = [place + (index - (len(series) - 1) / 2) * width for place in range(len(rows))]
        bars = axes.bar(places, heights, width, label=label, color=color)
        axes.bar_label(bars, [f"{height:.1f}" if height else "" for height in heights], fontsize=7)
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle="--", label="flambeau eager")
    axes.set_xticks(range(len(rows)), [f"{row['name']}\n{row['mode']}" for row in rows], fontsize=8)
    axes.set_ylabel("speed relative to flambeau eager")
    threads = rows[0].get("threads")
    axes.set_title(f"calls per second, {threads} thread{'s' if threads != 1 else ''}; higher is better", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
