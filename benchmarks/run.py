"""One model in one mode, measured or checked: what fills a row."""

from __future__ import annotations

import argparse
import gc
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.accuracy import worst
from benchmarks.case import Case, Library
from benchmarks.measure import Times, first_call, interleave, peak_memory
from benchmarks.peers import peer as peers


class Contest:
    """The variants of one model in one mode: their calls and times, by name."""

    def __init__(self, row: dict, options: argparse.Namespace, progress: Any):
        self.row, self.options, self.progress = row, options, progress
        self.name, self.training = row["name"], row["mode"] == "training"
        self.calls: dict[str, Any] = {}
        self.times: dict[str, Times] = {}
        self.cases: dict[str, Case] = {}
        self.versions: list[str] = []

    def say(self, text: str) -> None:
        self.progress.step(f"{self.name} {self.row['mode']}: {text}")

    def build(self, library: Library) -> Case:
        """The model on a library, with the weights of the first one that was built."""
        self.say(f"building on {library.name}")
        library.reset()
        case = Case(library, self.name, self.training, self.options.batch_size)
        if self.cases:
            case.copy_weights(next(iter(self.cases.values())))
        self.cases[library.name] = case
        return case

    def add(self, name: str, call: Any, before: float = 0.0) -> None:
        """A variant; its first call, which compiles, is timed here."""
        self.calls[name], self.times[name] = call, Times()
        self.times[name].first = before + first_call(call)

    def add_library(self, library: Library) -> None:
        """A library's eager and compiled variants."""
        case = self.build(library)
        eager = case.caller(case.forward)
        backend = self.options.backend if library.name == "flambeau" else "inductor"
        compiled = case.compiled(backend)
        with library.context():  # some sources import torch when they are called
            eager()
            self.say(f"compiling on {library.name}")
            self.add(f"{library.name} eager", eager)
            self.add(f"{library.name} compiled", compiled)
        self.versions.append(f"{library.name} {library.torch.__version__}")

    def add_peer(self, name: str, torch: Case, folder: Path) -> None:
        """A peer's variant, once its results are torch's. Raises Unsupported, with the reason."""
        self.say(f"preparing on {name}")
        try:
            prepared = peers.load(name).prepare(torch, self.options.threads, folder)
        except peers.Unsupported:
            raise
        except Exception as error:
            raise peers.Unsupported(peers.reason(error)) from error
        expected = torch.outputs(torch.forward)
        found = prepared.outputs(prepared.call())
        error, where = worst(found, {key: expected[key] for key in found})
        self.row[f"{name}_error"] = error
        if error > self.options.tolerance:
            raise peers.Unsupported(f"wrong: {error:.2e} from torch's {where}")
        self.add(name, prepared.call, prepared.seconds)
        self.versions.append(prepared.version)


def performance(
    row: dict, libraries: list[Library], options: argparse.Namespace, progress: Any
) -> list[dict[str, Any]]:
    """Time flambeau eager and compiled, and every peer, in turn; the result is a row for each peer that cannot take part."""
    contest = Contest(row, options, progress)
    for library in libraries:
        if library.name == "flambeau" or "torch" in options.peers:
            contest.add_library(library)
        if library.name == "flambeau":
            row.update(captured(library))
    refusals: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in [name for name in options.peers if name != "torch"]:
            torch = contest.cases.get("torch") or contest.build(libraries[-1])
            try:
                contest.add_peer(name, torch, Path(folder))
            except peers.Unsupported as refusal:
                status = f"no {name}: {refusal}"
                refusals.append(
                    {"dev": "cpu", "name": row["name"], "mode": row["mode"], "backend": name, "status": status}
                )
        contest.say("timing")
        interleave(contest.calls, contest.times, options.repeat, options.budget, progress.round)
    row.update(figures(contest.times), peers="; ".join(contest.versions))
    batch = contest.cases["flambeau"].batch
    row.update(batch_size=batch, threads=options.threads, loadavg=os.getloadavg()[0])
    row.update(memory(contest))
    return refusals


def memory(contest: Contest) -> dict[str, float]:
    """The peaks of one eager and one compiled call, beginning without gradients; packed weights by themselves."""
    from inductor.weights import kept_bytes

    peaks = []
    for variant in ("flambeau eager", "flambeau compiled"):
        contest.cases["flambeau"].model.zero_grad()
        gc.collect()
        peaks.append(peak_memory(contest.calls[variant]))
    eager, compiled = peaks[0], peaks[1] + native_memory()
    return {
        "eager_peak_mem": eager,
        "dynamo_peak_mem": compiled,
        "packed_weights_mem": kept_bytes() / 1e9,
        "compression_ratio": eager / compiled if compiled else math.nan,
    }


def native_memory() -> float:
    """Gigabytes that compiled programs hold between calls, which the peak of a call does not show: small workspaces, and the
    memory of earlier results that they use again. Not the weights that they packed: those are reported by themselves.
    """
    from inductor.compiled import Compiled
    from inductor.program import Program

    total = 0
    for thing in gc.get_objects():
        if type(thing) is Program:
            total += thing.scratch_bytes()
        elif type(thing) is Compiled:
            total += sum(block.nbytes for block in thing.blocks if block is not None)
    return total / 1e9


def figures(times: dict[str, Times]) -> dict[str, Any]:
    """The columns that follow from the times."""
    eager, compiled = times["flambeau eager"], times["flambeau compiled"]
    gain = eager.median - compiled.median
    compilation = compiled.compilation
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
            torch_compilation_latency=peer_compiled.compilation,
            speedup_over_torch_eager=peer.median / compiled.median,
            speedup_over_torch_compiled=peer_compiled.median / compiled.median,
        )
    for name in peers.NAMES:
        if name in times:
            found[f"{name}_latency"] = times[name].median
            found[f"{name}_compilation_latency"] = times[name].compilation
    others = {name: time.median for name, time in times.items() if not name.startswith("flambeau")}
    if others:
        best = min(others, key=lambda name: others[name])
        found.update(best_peer=best, speedup_over_best_peer=others[best] / compiled.median)
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


def accuracy(
    row: dict, libraries: list[Library], options: argparse.Namespace, progress: Any
) -> list[dict[str, Any]]:
    """Compare compiled with eager, and compiled with torch if it is a library.

    Where they differ by more than the tolerance, double precision decides, as in PyTorch's runner: compiled code may be
    twice as far from it as eager code is.
    """
    name, training = row["name"], row["mode"] == "training"
    library = libraries[0]
    library.reset()
    progress.step(f"{name} {row['mode']}: comparing")
    case = Case(library, name, training, options.batch_size)
    state = {key: value.clone() for key, value in case.model.state_dict().items()}
    with library.context():
        expected = case.outputs(case.forward)
        case.model.load_state_dict(state)  # running statistics have moved
        found = case.outputs(case.forward, options.backend)
    counts = captured(library)
    row.update(batch_size=case.batch, unique_graphs=counts["unique_graphs"], graph_breaks=counts["graph_breaks"])
    row["error"], row["where"] = worst(found, expected)
    if len(libraries) > 1:
        case.model.load_state_dict(state)
        peer = Case(libraries[1], name, training, options.batch_size)
        peer.copy_weights(case)
        row["torch_error"], row["torch_where"] = worst(found, peer.outputs(peer.forward))
    right = max(row["error"], row.get("torch_error", 0.0)) <= options.tolerance
    if not right:
        case.model.load_state_dict(state)
        twin = case.double()
        exact = twin.outputs(twin.forward)
        row["double_error"], row["eager_double_error"] = worst(found, exact)[0], worst(expected, exact)[0]
        right = row["double_error"] <= 2 * row["eager_double_error"]
    row["accuracy"] = "pass" if right else "fail_accuracy"
    row["status"] = "ok" if right else "fail_accuracy"
    return []
