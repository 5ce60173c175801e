"""What capture made of a program: `explain(function)(*args)` runs it once and tells which graphs were captured, where and why they ended,
which guards hold the code, what was left to Python, and how long it all took. It prints, and gives HTML and JSON.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dynamo import backends, frame
from dynamo.translate import CompiledFrame
from dynamo.unsupported import Break, Unsupported


@dataclass
class Explanation:
    """The account of one call. `frames` are the captured ones in order; `skipped` are `(name, reason)`."""

    frames: list[CompiledFrame] = field(default_factory=list)
    skipped: list[tuple[str, Any]] = field(default_factory=list)
    recompiles: list[Any] = field(default_factory=list)
    result: Any = None

    @property
    def graphs(self) -> list[Any]:
        return [graph for record in self.frames for graph in record.graphs]

    @property
    def graph_count(self) -> int:
        return len(self.graphs)

    @property
    def breaks(self) -> list[Break]:
        """Where a graph ended before its frame did."""
        return [broken for record in self.frames for broken in record.breaks]

    @property
    def break_reasons(self) -> list[Break]:
        """torch's name of `breaks`."""
        return self.breaks

    @property
    def graph_break_count(self) -> int:
        return len(self.breaks)

    @property
    def operator_counts(self) -> dict[str, int]:
        """How often each operator is in the graphs, the most frequent first."""
        counts: dict[str, int] = {}
        for record in self.frames:
            for name, count in record.operator_counts.items():
                counts[name] = counts.get(name, 0) + count
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def op_count(self) -> int:
        return sum(self.operator_counts.values())

    @property
    def guards(self) -> list[str]:
        """The conditions under which the compiled code runs again, one text per guard."""
        return [row for record in self.frames for row in record.guards.describe()]

    @property
    def compile_times(self) -> dict[str, float]:
        """Seconds spent in interpreting frames, and in the backend."""
        return {
            "capture": sum(record.translate_time for record in self.frames),
            "backend": sum(record.backend_time for record in self.frames),
        }

    # -- showing -------------------------------------------------------------------------------------

    def __str__(self) -> str:
        times = self.compile_times
        lines = [
            f"graphs: {self.graph_count}, breaks: {self.graph_break_count}, "
            f"operators: {self.op_count}, guards: {sum(len(r.guards) for r in self.frames)}, "
            f"frames: {len(self.frames)} captured, {len(self.skipped)} left to Python",
            f"time: capture {times['capture']:.3f} s, backend {times['backend']:.3f} s",
        ]
        for number, record in enumerate(self.frames, 1):
            operators = sum(record.operator_counts.values())
            lines += ["", f"frame {number}: {record.name}  ({operators} operators)"]
            for broken in record.breaks:
                lines += [f"  {line}" for line in _describe_break(broken)]
        for name, reason in self.skipped:
            lines += ["", f"left to Python: {name}"]
            lines += [f"  {line}" for line in str(reason).splitlines()]
        if self.operator_counts:
            counts = ", ".join(f"{name} {count}" for name, count in self.operator_counts.items())
            lines += ["", f"operators: {counts}"]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [
            "<tr><th>graphs</th><th>breaks</th><th>operators</th><th>frames</th></tr>",
            f"<tr><td>{self.graph_count}</td><td>{self.graph_break_count}</td>"
            f"<td>{self.op_count}</td><td>{len(self.frames)}</td></tr>",
        ]
        parts = [f"<table>{''.join(rows)}</table>"]
        for broken in self.breaks:
            place = html.escape(f"{broken.file}:{broken.line}")
            parts.append(
                f"<details open><summary><b>{html.escape(broken.title)}</b> at {place}</summary>"
                f"<pre>{html.escape(_source_line(broken))}</pre><p>{html.escape(broken.why)}</p>"
                f"<p><i>{html.escape(broken.hint)}</i></p></details>"
            )
        for name, reason in self.skipped:
            parts.append(
                f"<details><summary>left to Python: {html.escape(name)}</summary>"
                f"<pre>{html.escape(str(reason))}</pre></details>"
            )
        for number, graph in enumerate(self.graphs, 1):
            parts.append(
                f"<details><summary>graph {number}</summary>"
                f"<pre>{html.escape(str(graph.graph))}</pre></details>"
            )
        guards = html.escape("\n".join(self.guards))
        parts.append(f"<details><summary>guards</summary><pre>{guards}</pre></details>")
        return f"<div>{''.join(parts)}</div>"

    def to_json(self) -> str:
        """Everything that is text or number, as JSON."""
        return json.dumps(
            {
                "graph_count": self.graph_count,
                "graph_break_count": self.graph_break_count,
                "op_count": self.op_count,
                "operator_counts": self.operator_counts,
                "compile_times": self.compile_times,
                "breaks": [_break_record(broken) for broken in self.breaks],
                "skipped": [{"frame": n, "reason": str(reason)} for n, reason in self.skipped],
                "frames": [
                    {"name": r.name, "operators": r.operator_counts, "guards": r.guards.describe()}
                    for r in self.frames
                ],
                "graphs": [str(graph.graph) for graph in self.graphs],
                "recompiles": [str(recompile) for recompile in self.recompiles],
            },
            indent=1,
        )


def _describe_break(broken: Break) -> list[str]:
    lines = [f"break: {broken.title}", f"  at:   {broken.file}:{broken.line}"]
    text = _source_line(broken)
    if text:
        lines.append(f"        {text}")
    if broken.why:
        lines.append(f"  why:  {broken.why}")
    if broken.hint:
        lines.append(f"  hint: {broken.hint}")
    if not broken.resumed:
        lines.append("  then: the rest of this frame runs as Python, because the break is in a loop")
    return lines


def _source_line(broken: Break) -> str:
    return broken.stack[-1].text if broken.stack else ""


def _break_record(broken: Break) -> dict[str, Any]:
    return {
        "title": broken.title,
        "why": broken.why,
        "hint": broken.hint,
        "file": broken.file,
        "line": broken.line,
        "text": _source_line(broken),
        "resumed": broken.resumed,
        "stack": [str(position) for position in broken.stack],
    }


def explain(function: Callable, *, backend: Any = "eager") -> Callable[..., Explanation]:
    """A function that calls `function` once and gives the `Explanation`; forgets compiled code first.

    Raises what the call raises.
    """

    def explained(*args: Any, **kwargs: Any) -> Explanation:
        frame.reset()
        optimized = frame.optimize(backend)
        # Its own callback, so that nothing that was captured before is in the account.
        optimized.callback = frame.Callback(backends.lookup(backend), False, {})
        result = optimized(function)(*args, **kwargs)
        log = optimized.callback.log
        skipped = [(code.co_qualname, _reason(reason)) for code, reason in log.skipped]
        frames = [record for _, record in log.captured]
        return Explanation(frames, skipped, list(log.recompiles), result)

    return explained


def _reason(reason: Any) -> Any:
    return reason if isinstance(reason, (Unsupported, str)) else str(reason)
