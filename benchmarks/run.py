"""One model in one mode, measured or checked: what fills a row."""

from __future__ import annotations

import argparse
import math
import os
from typing import Any

from benchmarks.accuracy import worst
from benchmarks.case import Case, Library
from benchmarks.measure import Times, first_call, interleave, peak_memory


def performance(row: dict, libraries: list[Library], options: argparse.Namespace, progress: Any) -> None:
    """Time flambeau eager and compiled, and torch eager and compiled if it is a library, call by call in turn."""
    name, training = row["name"], row["mode"] == "training"
    calls: dict[str, Any] = {}
    times: dict[str, Times] = {}
    first: Case | None = None
    for library in libraries:
        progress.step(f"{name} {row['mode']}: building on {library.name}")
        library.reset()
        case = Case(library, name, training, options.batch_size)
        if first is None:
            first = case
        else:
            case.copy_weights(first)
        eager = case.caller(case.model)
        eager()
        backend = options.backend if library.name == "flambeau" else "inductor"
        compiled = case.caller(case.compile(backend))
        progress.step(f"{name} {row['mode']}: compiling on {library.name}")
        for kind, call in (("eager", eager), ("compiled", compiled)):
            key = f"{library.name} {kind}"
            calls[key], times[key] = call, Times()
            times[key].first = first_call(call)
        if library.name == "flambeau":
            row.update(captured(library))
    assert first is not None
    progress.step(f"{name} {row['mode']}: timing")
    interleave(calls, times, options.repeat, options.budget, progress.round)
    row.update(figures(times))
    row.update(batch_size=first.batch, threads=options.threads, loadavg=os.getloadavg()[0])
    eager_peak = peak_memory(calls["flambeau eager"])
    compiled_peak = peak_memory(calls["flambeau compiled"]) + native_memory()
    row.update(
        eager_peak_mem=eager_peak,
        dynamo_peak_mem=compiled_peak,
        compression_ratio=eager_peak / compiled_peak if compiled_peak else math.nan,
    )


def native_memory() -> float:
    """Gigabytes of workspace that compiled programs own; NumPy's allocator, and so `peak_memory`, does not see it."""
    import gc

    from inductor.program import Program

    return sum(thing.scratch_bytes() for thing in gc.get_objects() if type(thing) is Program) / 1e9


def figures(times: dict[str, Times]) -> dict[str, Any]:
    """The columns that follow from the times."""
    eager, compiled = times["flambeau eager"], times["flambeau compiled"]
    gain = eager.median - compiled.median
    compilation = max(compiled.first - compiled.median, 0.0)
    found: dict[str, Any] = {
        "speedup": eager.median / compiled.median,
        "abs_latency": compiled.median,
        "eager_latency": eager.median,
        "compilation_latency": compilation,
        "p10": compiled.percentile(10),
        "p90": compiled.percentile(90),
        "break_even_calls": math.ceil(compilation / gain) if gain > 0 else None,
    }
    if "torch eager" in times:
        peer, peer_compiled = times["torch eager"], times["torch compiled"]
        found.update(
            torch_eager_latency=peer.median,
            torch_compiled_latency=peer_compiled.median,
            torch_compilation_latency=max(peer_compiled.first - peer_compiled.median, 0.0),
            speedup_over_torch_eager=peer.median / compiled.median,
            speedup_over_torch_compiled=peer_compiled.median / compiled.median,
        )
    return found


def captured(library: Library) -> dict[str, Any]:
    """How much was captured since the last reset: graphs, their calls, and breaks."""
    counts = library.torch.compiler.counts()
    return {
        "calls_captured": counts.get("calls_captured"),
        "unique_graphs": counts.get("unique_graphs"),
        "graph_breaks": counts.get("graph_breaks"),
        "unique_graph_breaks": counts.get("unique_graph_breaks"),
    }


def accuracy(row: dict, libraries: list[Library], options: argparse.Namespace, progress: Any) -> None:
    """Compare compiled with eager, and eager with torch if it is a library."""
    name, training = row["name"], row["mode"] == "training"
    library = libraries[0]
    library.reset()
    progress.step(f"{name} {row['mode']}: comparing")
    case = Case(library, name, training, options.batch_size)
    state = {key: value.clone() for key, value in case.model.state_dict().items()}
    expected = case.outputs(case.model)
    case.model.load_state_dict(state)  # running statistics have moved
    found = case.outputs(case.compile(options.backend))
    counts = captured(library)
    row.update(batch_size=case.batch, unique_graphs=counts["unique_graphs"], graph_breaks=counts["graph_breaks"])
    row["error"], row["where"] = worst(found, expected)
    if len(libraries) > 1:
        case.model.load_state_dict(state)
        peer = Case(libraries[1], name, training, options.batch_size)
        peer.copy_weights(case)
        row["torch_error"], row["torch_where"] = worst(found, peer.outputs(peer.model))
    right = max(row["error"], row.get("torch_error", 0.0)) <= options.tolerance
    row["accuracy"] = "pass" if right else "fail_accuracy"
    row["status"] = "ok" if right else "fail_accuracy"
