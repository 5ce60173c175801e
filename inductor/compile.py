"""The pipeline: a pure graph becomes one native program (or several, around operators that only
eager knows).

    lower -> schedule -> generate -> build -> link

`compile_graph(graph_module, example_inputs)` runs the stages of `STAGES` in order, each a function
of the `Compilation` before it, and returns a callable over tensors. `KEEP` names the operators that
are to arrive whole. The callable's `report` says what became of the graph.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

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
from eager.tensor import Tensor
from fx.graph_module import GraphModule
from inductor import config, native, threads
from inductor.cache import Cache
from inductor.codegen import build, crew
from inductor.codegen.kernel import Source, generate
from inductor.dump import Dump
from inductor.epilogue import fuse
from inductor.loops import ITEMSIZE, Buffer, Loop
from inductor.lower import LOWERINGS, Fallback, Lowered, Lowering, Result, Step
from inductor.memory import lifetimes, plan
from inductor.program import Program, Reference, aligned, constant, input, output, workspace
from inductor.program import Step as ProgramStep
from inductor.progress import Progress
from inductor.scheduler import Group, Scheduler, reads_of, writes_of
from inductor.weights import Kept


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


@dataclass
class Compilation:
    """A graph on its way; each stage fills in its part."""

    module: GraphModule
    examples: Sequence[Any]
    dump: Dump
    report: Report
    debug: bool = False  # kernels run as Python
    lowered: Lowered = field(default_factory=Lowered)
    units: list[Unit] = field(default_factory=list)
    offsets: dict[Buffer, int] = field(default_factory=dict)
    run: Callable | None = None


def lower(c: Compilation) -> None:
    """Operators to loops and steps."""
    c.lowered = Lowering(c.module).run()
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
    c.report.kernels = sum(u.source is not None for u in c.units)
    c.report.distinct_kernels = len({u.source.text for u in c.units if u.source is not None})
    c.report.templates = sum(u.step is not None for u in c.units)


INFERRING = ("attention",)
"""Operators whose kernel gives no gradient: left whole only where none is wanted."""

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
    """Any address: for steps that are made to compile their templates, not to run."""
    return workspace(0)


def compile_ahead(c: Compilation, cache: Cache) -> None:
    """On a cold start, kernels and templates into the cache, on all cores."""
    texts = dict.fromkeys(u.source.text for u in c.units if u.source is not None)
    # the longest first, so that nobody is left with one at the end
    missing = sorted((t for t in texts if build.is_missing(t, cache)), key=len, reverse=True)
    if not missing:
        return
    jobs: list[crew.Job] = [partial(build.kernel, text, cache) for text in missing]
    jobs += [partial(u.step.make, _nowhere) for u in c.units if u.step is not None]
    with Progress(len(jobs)) as progress:
        if crew.workers_for(len(jobs), threads.available()) > 1:
            build.prepare()
            c.report.workers = crew.share(jobs, threads.available(), progress.done)
            return
        for number, text in enumerate(missing):
            progress.done(number)
            build.kernel(text, cache)


def compile_kernels(c: Compilation) -> None:
    """Source text to machine code."""
    cache = open_cache()
    if cache is not None and not c.debug:
        compile_ahead(c, cache)
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
    """Temporaries to offsets in the workspace."""
    exchanged = crossing(c.units)
    for buffer in exchanged:
        buffer.kind = "exchanged"
    lives = lifetimes([(u.reads, u.writes) for u in c.units])
    c.offsets, c.report.workspace = plan(lives)


def link(c: Compilation) -> None:
    """Everything to a callable."""
    c.run = Compiled(c)


STAGES: dict[str, Callable[[Compilation], None]] = {
    "lower": lower,
    "schedule": schedule,
    "build": compile_kernels,
    "place": place,
    "link": link,
}


def compile_graph(
    module: GraphModule, examples: Sequence[Any], debug: bool = False
) -> Callable:
    """A callable over tensors for a pure graph; its inputs must have the examples' shapes and
    dtypes. With `debug` (or FLAMBEAU_DEBUG=1) its kernels run as Python, for a debugger.
    """
    c = Compilation(module, examples, Dump(), Report(), debug or config.debug())
    if c.dump.active:
        c.dump.text("graph", str(module.graph))
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
    c.dump.text("memory", "\n".join(f"{start:10} {b}" for b, start in c.offsets.items()))
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


def keep(inferring: bool = False) -> frozenset[Op]:
    """Operators to be left whole by aot; `inferring`, those for graphs without gradients only."""
    if inferring:
        return frozenset(registry[name] for name in INFERRING)
    names = [
        name for name, op in registry.items()
        if name in LOWERINGS and (op.decompose is not None or op.kind == "composite")
        and name not in ("zeros_like", "ones_like", "full_like", "contiguous", *INFERRING)
    ]
    return frozenset(registry[name] for name in names)


def title(source: Source) -> str:
    """What a kernel computes, by the operators in it: for profiles."""
    names = [o.split(":")[0] for m in source.members for o in m.loop.origins]
    return "kernel " + "_".join(dict.fromkeys(names))


class Segment:
    """A run of native units: one program."""

    def __init__(self, compiled: Compiled, units: list[Unit], c: Compilation):
        self.slots: dict[int, int] = {}
        self.inputs: list[int] = []
        outputs: list[int] = []
        used = {b for u in units for b in (*u.reads, *u.writes)}
        written = {b for u in units for b in u.writes}
        for number, buffer in enumerate(compiled.buffers):
            if buffer in used:
                (outputs if buffer in written else self.inputs).append(number)
        self.arrays = (*self.inputs, *outputs)
        self.places = {n: k for k, n in enumerate(self.inputs)}
        self.out_places = {n: k for k, n in enumerate(outputs)}
        self.compiled = compiled
        self.constants: list[np.ndarray] = []
        steps: list[ProgramStep] = []
        self.keep: list[Any] = []
        for unit in units:
            steps.extend(self._steps(unit, c))
        self.program = Program(
            steps, len(self.inputs), len(outputs), compiled.workspace_bytes, self.constants,
            self.keep,
        )

    def _steps(self, unit: Unit, c: Compilation) -> list[ProgramStep]:
        if unit.source is not None:
            self.keep.append(unit.function)
            arguments = tuple(self.reference(b) for b in unit.source.arguments)
            cost = 0.0 if c.debug else unit.source.cost  # of no cost is what one thread runs
            return [ProgramStep(
                unit.function.address, arguments, unit.source.rows, cost, name=title(unit.source),
            )]
        assert unit.step is not None
        return unit.step.make(self.reference)

    def reference(self, buffer: Buffer, offset: int = 0) -> Reference:
        """Where a buffer is when this program runs; `offset` in elements."""
        shift = offset * ITEMSIZE[buffer.dtype]
        if buffer.kind == "constant":
            self.constants.append(buffer.value)
            return constant(len(self.constants) - 1, shift)
        number = self.compiled.numbers.get(buffer)
        if number is None:
            return workspace(self.compiled.offsets[buffer] + shift)
        if number in self.places:
            return input(self.places[number], shift)
        return output(self.out_places[number], shift)

    def run(self, arrays: list[Any]) -> None:
        code, _ = self.program.call(tuple([arrays[n] for n in self.arrays]))
        if code:
            raise_for(code)


def raise_for(code: int) -> None:
    """The exception that eager would have raised for a kernel's error code."""
    if code & native.RAISED:
        from inductor.codegen import plain

        plain.reraise()
    if code & 1:
        raise IndexError("index out of range in self")
    if code & 2:
        raise RuntimeError("ZeroDivisionError")
    raise RuntimeError(f"a compiled kernel failed with code {code}")


class Compiled:
    """The callable: checks inputs, allocates outputs, runs the segments."""

    def __init__(self, c: Compilation):
        self.report = c.report
        lowered = c.lowered
        self.results = lowered.results
        # for who compiles what reads the results: the strides of each, or None for an input
        self.strides = [None if r.buffer is None else r.strides for r in lowered.results]
        # what has an address of its own at run time: inputs, outputs, and what fallbacks exchange
        self.buffers: list[Buffer] = list(lowered.inputs)
        self.fresh: list[Buffer] = []
        self.numbers: dict[Buffer, int] = {b: n for n, b in enumerate(self.buffers)}
        for unit in c.units:
            for buffer in (*unit.reads, *unit.writes):
                if buffer.kind in ("output", "exchanged") and buffer not in self.numbers:
                    self.numbers[buffer] = len(self.buffers)
                    self.buffers.append(buffer)
                    self.fresh.append(buffer)
        self.kept: list[Kept] = []
        for buffer in dict.fromkeys(b for u in c.units for b in u.reads if b.kind == "kept"):
            self.numbers[buffer] = len(self.buffers)
            self.buffers.append(buffer)
            self.kept.append(buffer.value)
        c.report.kept = sum(kept.bytes for kept in self.kept)
        self.offsets, self.workspace_bytes = c.offsets, c.report.workspace
        self.expected = [
            (np.dtype(_numpy(b.dtype)), b.shape, tuple(s * ITEMSIZE[b.dtype] for s in b.strides))
            for b in lowered.inputs
        ]
        placeholders = c.module.graph.find_nodes(op="placeholder")
        self.parameters = {n for n, p in enumerate(placeholders) if p.meta.get("parameter")}
        self.known: list[np.ndarray | None] = [None] * len(placeholders)
        self.sizes = [max(b.bytes, 1) for b in self.fresh]
        self.blocks: list[np.ndarray | None] = [None] * len(self.fresh)
        self.segments: list[Any] = []
        self._cut(c)
        self.views = [self._view(r) for r in self.results]
        numbers = [v[0] for v in self.views if not isinstance(v, Result)]
        inputs = len(lowered.inputs)
        self.exclusive = {n for n in numbers if n >= inputs and numbers.count(n) == 1}
        c.report.segments = sum(isinstance(s, Segment) for s in self.segments)

    def _cut(self, c: Compilation) -> None:
        """Split the units at fallbacks into segments."""
        run: list[Unit] = []
        for unit in c.units:
            if unit.fallback is None:
                run.append(unit)
                continue
            if run:
                self.segments.append(Segment(self, run, c))
                run = []
            self.segments.append(unit.fallback)
        if run:
            self.segments.append(Segment(self, run, c))

    def _view(self, result: Result) -> Any:
        """How a result is made from the arrays: (number, dtype, shape, byte strides, byte offset).
        """
        if result.buffer is None:
            return result
        size = ITEMSIZE[result.buffer.dtype]
        dtype = np.dtype(_numpy(result.buffer.dtype))
        strides = tuple(s * size for s in result.strides)
        return (
            self.numbers[result.buffer], dtype, result.shape, strides, result.offset * size
        )

    def __call__(self, *tensors: Any) -> tuple:
        arrays: list[Any] = [
            known if known is not None and getattr(tensor, "_array", None) is known
            else self._take(number, tensor)
            for number, (tensor, known) in enumerate(zip(tensors, self.known, strict=True))
        ]
        arrays += [self._memory(k) for k in range(len(self.sizes))]
        arrays += [k.get(tensors[k.number], arrays[k.number]) for k in self.kept]
        for segment in self.segments:
            if isinstance(segment, Segment):
                segment.run(arrays)
            else:
                self._fall_back(segment, arrays)
        return tuple([self._result(v, tensors, arrays) for v in self.views])

    def _memory(self, number: int) -> np.ndarray:
        """Fresh memory for a result: that of an earlier call's, where nobody holds it any more."""
        block = self.blocks[number]
        # views made by NumPy hold the memory's owner, calls under way hold the block
        if block is None or sys.getrefcount(block) > 3 or sys.getrefcount(block.base) > 2:
            block = self.blocks[number] = aligned(self.sizes[number])
        return block

    def _take(self, number: int, tensor: Any) -> Any:
        """Input `number`, checked; a parameter's array is remembered, for it will come again."""
        array = self._array(tensor, self.expected[number])
        if number in self.parameters and array is getattr(tensor, "_array", None):
            self.known[number] = array
        return array

    def _array(self, tensor: Any, expected: tuple) -> Any:
        """The input's array, laid out as it was compiled for."""
        if not isinstance(tensor, Tensor):
            return np.asarray(tensor)
        array = tensor._array
        dtype, shape, strides = expected
        if array.strides == strides and array.shape == shape and array.dtype == dtype:
            return array
        if array.shape != shape or array.dtype != dtype:
            raise RuntimeError(
                f"a compiled graph was called with a tensor of {array.dtype} {list(array.shape)} where it was "
                f"compiled for {dtype} {list(shape)}"
            )
        if all(n == 1 or a == b for n, a, b in zip(shape, array.strides, strides, strict=True)):
            return array
        laid_out = _strided(aligned(_bytes(dtype, shape, strides)), dtype, shape, strides, 0)
        laid_out[...] = array
        return laid_out

    def _result(self, how: Any, tensors: tuple, arrays: list[Any]) -> Any:
        if isinstance(how, Result):
            return tensors[how.input] if how.input >= 0 else how.constant
        number, dtype, shape, strides, offset = how
        result = Tensor._wrap(_strided(arrays[number], dtype, shape, strides, offset))
        result._exclusive = number in self.exclusive
        return result

    def _fall_back(self, fallback: Fallback, arrays: list[Any]) -> None:
        """The eager kernel on views of our memory, its results copied into our buffers."""

        def convert(argument: Any) -> Any:
            if isinstance(argument, (list, tuple)):
                return type(argument)(convert(a) for a in argument)
            if not hasattr(argument, "buffer"):
                return argument
            buffer = argument.buffer
            size = ITEMSIZE[buffer.dtype]
            dtype = np.dtype(_numpy(buffer.dtype))
            strides = tuple(s * size for s in argument.strides)
            base = buffer.value if buffer.kind == "constant" else arrays[self.numbers[buffer]]
            return Tensor._wrap(
                _strided(base, dtype, argument.shape, strides, argument.offset * size)
            )

        from eager.autograd import no_grad

        with no_grad():
            values = fallback.op.compute(tuple(convert(a) for a in fallback.arguments))
        for buffer, value in zip(
            fallback.outputs, values if isinstance(values, tuple) else (values,), strict=True
        ):
            dtype = np.dtype(_numpy(buffer.dtype))
            strides = tuple(s * dtype.itemsize for s in buffer.strides)
            array = _strided(arrays[self.numbers[buffer]], dtype, buffer.shape, strides, 0)
            array[...] = value._array


def _numpy(dtype: str) -> Any:
    from eager.dtype import from_name

    return from_name(dtype).numpy


def _bytes(dtype: np.dtype, shape: Sequence[int], strides: Sequence[int]) -> int:
    if 0 in shape:
        return 1
    return dtype.itemsize + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))


def _strided(
    array: np.ndarray, dtype: np.dtype, shape: Sequence[int], strides: Sequence[int], offset: int
) -> np.ndarray:
    """A typed view of raw memory (or of another array's)."""
    if array.dtype == np.uint8 and array.ndim == 1 and array.flags.c_contiguous:
        return np.ndarray(shape, dtype, array.data, offset, strides)
    view = np.lib.stride_tricks.as_strided(array, tuple(shape), tuple(strides))
    return view if not offset else np.ndarray(shape, dtype, array, offset, strides)
