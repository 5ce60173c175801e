"""The pipeline: a pure graph becomes one native program (or several, around operators that only
eager knows).

    lower -> schedule -> generate -> build -> link

`compile_graph(graph_module, example_inputs)` runs the stages of `STAGES` in order, each a function
of the `Compilation` before it, and returns a callable over tensors. `KEEP` names the operators that
are to arrive whole. The callable's `report` says what became of the graph.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import inductor.attention  # noqa: F401
import inductor.convolution  # noqa: F401
import inductor.extern  # noqa: F401
import inductor.indexing  # noqa: F401
import inductor.philox  # noqa: F401  (these declare lowerings)
import inductor.scatter  # noqa: F401
import inductor.shifting  # noqa: F401
import inductor.window  # noqa: F401
from eager.op import Op
from eager.registry import registry
from fx import collector
from fx.graph_module import GraphModule
from inductor import config, inplace, threads
from inductor.bundle import bundle
from inductor.cache import Cache
from inductor.codegen import build, crew
from inductor.codegen.kernel import Source, generate
from inductor.compiled import Compiled
from inductor.dump import Dump
from inductor.epilogue import fuse
from inductor.folding import Folded, fold
from inductor.loops import Buffer, Loop
from inductor.lower import LOWERINGS, Fallback, Lowered, Lowering, Step
from inductor.memory import FOREVER, Block, Life, Place, lifetimes, plan, rounded, spans
from inductor.products import join_products
from inductor.program import Reference, threads_at_most, workspace
from inductor.progress import Progress
from inductor.scheduler import Group, Scheduler, reads_of, writes_of
from inductor.templates import template
from inductor.templates.template import Template


@dataclass
class Report:
    """What became of a graph."""

    kernels: int = 0
    distinct_kernels: int = 0
    templates: int = 0
    fallbacks: list[tuple[str, str]] = field(default_factory=list)
    segments: int = 0
    workspace: int = 0
    kept: int = 0  # bytes of weights that are kept packed
    folded: int = 0  # bytes of what is computed of weights once
    workers: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class Unit:
    """One thing to run: a kernel, template steps, or a fallback."""

    reads: list[Buffer]
    writes: list[Buffer]
    source: Source | None = None
    step: Step | None = None
    fallback: Fallback | None = None
    function: Any = None
    group: Group | None = None
    scratch: int = 0  # bytes that the step's threads work in


@dataclass
class Compilation:
    """A graph on its way; each stage fills in its part."""

    module: GraphModule
    examples: Sequence[Any]
    dump: Dump
    report: Report
    debug: bool = False  # kernels run as Python
    tuned: bool = False  # ways are chosen by timing
    lowered: Lowered = field(default_factory=Lowered)
    units: list[Unit] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    homes: dict[Buffer, Place] = field(default_factory=dict)  # of results
    inplace: dict[Buffer, Buffer] = field(default_factory=dict)  # results in the memory of inputs
    places: dict[Buffer, Place] = field(default_factory=dict)  # of temporaries
    scratch: dict[int, Place] = field(default_factory=dict)  # by the number of the unit
    workspace: Block = field(default_factory=Block)
    folded: Folded | None = None
    run: Callable | None = None


def fold_weights(c: Compilation) -> None:
    """What depends on weights alone to a graph of its own."""
    c.folded = fold(c.module)
    c.report.folded = 0 if c.folded is None else c.folded.bytes


def lower(c: Compilation) -> None:
    """Operators to loops and steps."""
    join_products(c.module)
    c.lowered = Lowering(c.module, c.tuned).run()
    c.report.fallbacks = c.lowered.fallbacks


def schedule(c: Compilation) -> None:
    """Loops to groups, groups to plans of kernels."""
    results = [r.buffer for r in c.lowered.results if r.buffer is not None]
    scheduler = Scheduler(fuse(c.lowered.operations, results), results)
    for group in scheduler.ordered():
        if not group.members:
            operation = group.operation
            unit = Unit(reads_of(operation), writes_of(operation), group=group)
            if isinstance(operation, Fallback):
                unit.fallback = operation
            else:
                unit.step = operation
        else:
            source = generate(scheduler.plan(group))
            reads = [b for b in source.arguments if b not in source.written]
            unit = Unit(reads, source.written, source=source, group=group)
        c.units.append(unit)
    c.inplace = inplace.find(c)
    c.report.kernels = sum(u.source is not None for u in c.units)
    c.report.distinct_kernels = len({u.source.text for u in c.units if u.source is not None})
    c.report.templates = sum(u.step is not None for u in c.units)


_cache: dict[Any, Cache] = {}


def open_cache() -> Cache | None:
    """The cache in the folder that the settings name, or None where it is off."""
    folder = config.cache_folder()
    if folder is None:
        return None
    if folder not in _cache:
        _cache[folder] = Cache(folder)
    return _cache[folder]


def _nowhere(buffer: Buffer, offset: int = 0) -> Reference:
    """Any address: for steps that are made to know their templates, not to run."""
    return workspace(0)


def _draft(c: Compilation) -> list[Template]:
    """Make all steps, to learn of what they need: the templates, and those of weights that are kept
    packed, each once.
    """
    with template.gathered() as found:
        for unit in c.units:
            if unit.step is not None:
                made = unit.step.make(_nowhere)
                most = max((rounded(step.scratch) for step in made), default=0)
                unit.scratch = most * threads_at_most()
            for buffer in unit.reads:
                if buffer.kind == "kept":
                    for stage in buffer.value.stages:
                        template.load(stage.template)
    return list(found.values())


def compile_ahead(c: Compilation, cache: Cache, templates: Sequence[Template]) -> None:
    """On a cold start, kernels and templates into the cache, on all cores."""
    texts = dict.fromkeys(u.source.text for u in c.units if u.source is not None)
    # the shortest last: nobody is left with a long one at the end
    missing = sorted((t for t in texts if build.is_missing(t, cache)), key=len, reverse=True)
    wanted = [t for t in templates if template.is_missing(t, cache)]
    jobs: list[crew.Job] = [partial(template.load, t) for t in wanted]
    jobs += [partial(build.kernel, text, cache) for text in missing]
    if not jobs:
        return
    with Progress(len(jobs)) as progress:
        if crew.workers_for(len(jobs), threads.available()) > 1:
            build.prepare()
            c.report.workers = crew.share(jobs, threads.available(), progress.done)
            return
        for number, job in enumerate(jobs):
            progress.done(number)
            job()


def compile_kernels(c: Compilation) -> None:
    """Source text to machine code."""
    cache, templates = open_cache(), _draft(c)
    if cache is not None and not c.debug:
        compile_ahead(c, cache, templates)
    for number, unit in enumerate(c.units):
        if unit.source is None:
            continue
        origins = ", ".join(o for m in unit.source.members for o in m.loop.origins)
        text, file = f"# {origins}\n{unit.source.text}", f"<flambeau kernel {number}>"
        if c.dump.active:
            file = c.dump.kernel(number, text) or file
        if c.debug:
            unit.function = build.plain_kernel(text, file)
        else:
            unit.function = build.kernel(unit.source.text, cache)


def crossing(units: Sequence[Unit]) -> set[Buffer]:
    """Temporaries that a fallback or more than one segment uses: no workspace holds them."""
    segment = 0
    first: dict[Buffer, int] = {}
    found: set[Buffer] = set()
    for unit in units:
        if unit.fallback is not None:
            segment += 1
        for buffer in (*unit.reads, *unit.writes):
            if buffer.kind != "temporary":
                continue
            if unit.fallback is not None or first.setdefault(buffer, segment) != segment:
                found.add(buffer)
    return found


def place(c: Compilation) -> None:
    """Results to blocks; temporaries, and what steps work in, to what is free of them and to the
    workspace.
    """
    exchanged = crossing(c.units)
    for buffer in exchanged:
        buffer.kind = "exchanged"
    c.homes.update(bundle(c))
    steps = [(u.reads, u.writes) for u in c.units]
    for buffer, (first, last) in spans(steps).items():
        if buffer.kind in ("output", "exchanged") and buffer not in c.inplace:
            if buffer not in c.homes:
                c.homes[buffer] = Block(max(buffer.bytes, 1)), 0
            block, offset = c.homes[buffer]
            last = FOREVER if buffer.kind == "output" else last
            block.take(first, last, offset, buffer.bytes)
            if block not in c.blocks:
                c.blocks.append(block)
    c.workspace = Block()
    lives = lifetimes(steps)
    rooms = {
        number: Buffer(f"scratch{number}", "uint8", (unit.scratch,), (1,))
        for number, unit in enumerate(c.units) if unit.scratch
    }
    lives += [Life(room, number, number) for number, room in rooms.items()]
    c.places = plan(lives, c.blocks, c.workspace)
    c.scratch = {number: c.places[room] for number, room in rooms.items()}


def link(c: Compilation) -> None:
    """Everything to a callable."""
    c.run = Compiled(c)


STAGES: dict[str, Callable[[Compilation], None]] = {
    "fold": fold_weights,
    "lower": lower,
    "schedule": schedule,
    "build": compile_kernels,
    "place": place,
    "link": link,
}


def compile_graph(
    module: GraphModule, examples: Sequence[Any], debug: bool = False, tuned: bool = False
) -> Callable:
    """A callable over tensors for a pure graph; its inputs must have the examples' shapes and
    dtypes. With `debug` (or FLAMBEAU_DEBUG=1) its kernels run as Python, for a debugger. Where
    it is `tuned`, ways of doing the same are chosen by timing (`tuning`).
    """
    c = Compilation(module, examples, Dump(), Report(), debug or config.debug(), tuned)
    if c.dump.active:
        c.dump.text("graph", str(module.graph))
    with collector.paused():
        for name, stage in STAGES.items():
            begin = time.perf_counter()
            stage(c)
            c.report.seconds[name] = time.perf_counter() - begin
    if c.dump.active:
        _describe(c)
    assert c.run is not None
    return c.run


def _describe(c: Compilation) -> None:
    """The later stages' texts, for the dump and the logs."""
    c.dump.text("loops", "\n".join(_operation(o) for o in c.lowered.operations))
    groups = ["\n".join(map(_operation, _members(unit))) for unit in c.units]
    c.dump.text("fusion", "\n\n".join(f"# {n}\n{text}" for n, text in enumerate(groups)))
    c.dump.text("memory", "\n".join(map(_place, c.places.items())))
    c.dump.text("fallbacks", "\n".join(f"{name}: {why}" for name, why in c.report.fallbacks))
    c.dump.text("timing", "\n".join(f"{s:8.3f} {name}" for name, s in c.report.seconds.items()))
    c.dump.record("report", c.report.__dict__)


def _members(unit: Unit) -> list[Any]:
    if unit.source is not None:
        return [m.loop for m in unit.source.members]
    return [unit.step or unit.fallback]


def _operation(operation: Any) -> str:
    """An operation in one line: what it fills, over what, from what."""
    reads = ", ".join(b.name for b in reads_of(operation))
    if not isinstance(operation, Loop):
        name = operation.op.name if isinstance(operation, Fallback) else operation.name
        return f"{', '.join(map(str, operation.outputs))} = {name}({reads})"
    kind = operation.scatter or operation.combine or "pointwise"
    over = [v.size for v in operation.reduced]
    return f"{operation.target} = {kind}{over or ''}({reads})  # {' '.join(operation.origins)}"


def _place(item: tuple[Buffer, Place]) -> str:
    """Where a temporary lies, in one line."""
    buffer, (block, start) = item
    return f"{'workspace' if block.number < 0 else f'block {block.number}':>12} {start:10} {buffer}"


def keep() -> frozenset[Op]:
    """Operators to be left whole by aot."""
    names = [
        name for name, op in registry.items()
        if name in LOWERINGS and (op.decompose is not None or op.kind == "composite")
        and name not in ("zeros_like", "ones_like", "full_like", "contiguous")
    ]
    return frozenset(registry[name] for name in names)
