"""Pointwise loops join the matrix product or convolution whose result they alone read.

A step that says which matrix its output is (`Step.matrix`) can apply a loop to each tile of it while the tile is in the first cache level.
The loop must fill memory laid out as that output, element for element; whatever else it reads must be the same for a whole row, or run
along it. Its body is traced once into a text over the vocabulary of `templates/lanes.py`; the text is the epilogue's key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inductor.codegen.scalar import expression, literal_text
from inductor.index import ZERO, Index, Variable, symbol
from inductor.loops import Buffer, Loop, TypedAlgebra, Value
from inductor.lower import Step

MOST_LINES = 200


class NotFusible(Exception):
    """The loop cannot be an epilogue; the message says why."""


@dataclass(frozen=True)
class Line:
    """An assignment, and whether its value differs along a row."""

    text: str
    by_column: bool


@dataclass(frozen=True)
class Word:
    """What an epilogue reads: a buffer from an element on, so that it is the same text wherever that is."""

    buffer: Buffer
    offset: int


class Trace(TypedAlgebra):
    """Writes a body as assignments; `words` collects what it reads, in order."""

    def __init__(self, product: Buffer, place: Index, variables: tuple[Variable, ...]) -> None:
        super().__init__()
        self.product, self.place, self.variables = product, place, variables
        self.lines: list[Line] = []
        self.words: list[Word] = []
        self.known: dict[str, Value] = {}

    def emit(self, text: str, dtype: str, by_column: bool) -> Value:
        if text not in self.known:
            if len(self.lines) >= MOST_LINES:
                raise NotFusible("it is too long")
            self.known[text] = Value(self, f"t{len(self.lines)}", dtype, by_column)
            self.lines.append(Line(f"t{len(self.lines)} = {text}", by_column))
        return self.known[text]

    def operation(self, name: str, dtype: str, values: tuple[Value, ...]) -> Value:
        from inductor.templates.lanes import OPERATIONS

        kind = values[-1].dtype
        if name not in OPERATIONS or {dtype, kind} - {"float32", "bool"}:
            raise NotFusible(f"it computes {name} of {kind}")
        by_column = any(v.depends for v in values)
        return self.emit(expression(name, dtype, kind, [v.code for v in values]), dtype, by_column)

    def literal(self, value: Any, dtype: str) -> Value:
        if dtype not in ("float32", "bool"):
            raise NotFusible(f"it has a constant of type {dtype}")
        text = literal_text(value, dtype)
        return Value(self, text if dtype == "float32" else f"truth({text})", dtype, False)

    def convert(self, value: Value, dtype: str) -> Value:
        if dtype not in ("float32", "bool"):
            raise NotFusible(f"it converts to {dtype}")
        return self.emit(f"to_{dtype}({value.code})", dtype, value.depends)

    def load(self, buffer: Buffer, index: Index) -> Value:
        if buffer is self.product:
            if index != self.place:
                raise NotFusible("it reads the product at another place")
            return Value(self, "product", "float32", True)
        strides = [index.stride(v) for v in self.variables]
        if not index.is_affine() or None in strides or strides[-1] not in (0, 1):
            raise NotFusible(f"it reads {buffer.name} across the rows")
        if buffer.dtype not in ("float32", "bool"):
            raise NotFusible(f"it reads {buffer.dtype}")
        word = Word(buffer, index.constant)
        if word not in self.words:
            self.words.append(word)
        image, row, column = strides
        place = f"{self.words.index(word)}, {image}, {row}, {column}, 0"
        return self.emit(f"load_{buffer.dtype}({place})", buffer.dtype, column != 0)

    def index(self, index: Index, dtype: str = "int64") -> Value:
        raise NotFusible("it computes with positions")

    def indirect(self, value: Value, size: int, wrap: bool = False) -> Index:
        raise NotFusible("it reads at computed positions")

    def clamped(self, value: Value, condition: Value, size: int) -> Index:
        raise NotFusible("it reads at computed positions")

    def random(self, name: str, dtype: str, values: tuple[Value, ...]) -> Value:
        raise NotFusible("it draws random numbers")


class Epilogue:
    """A traced loop as the epilogue of a template: see `templates/finish.py`.

    Lines that are the same for a whole row are run once per row.
    """

    def __init__(self, lines: list[Line], result: str, first_word: int) -> None:
        self.rows = "\n".join(line.text for line in lines if not line.by_column)
        self.columns = "\n".join(line.text for line in lines if line.by_column)
        self.result, self.first_word = result, first_word
        self.key = f"from word {first_word}:\n{self.rows}\n{self.columns}\nreturn {result}"

    def for_row(self, e: Any, place: Any) -> dict[str, Any]:
        """What every vector of a row shares."""
        from inductor.templates.lanes import run

        return run(e, self.rows, self._names(e, place))

    def __call__(self, e: Any, value: Any, place: Any, names: dict[str, Any]) -> Any:
        from inductor.templates.lanes import Lanes, run

        given = names | self._names(e, place) | {"product": Lanes(e, value)}
        return run(e, f"{self.columns}\nresult = {self.result}", given)["result"].value

    def _names(self, e: Any, place: Any) -> dict[str, Any]:
        from inductor.templates.emit import I1
        from inductor.templates.lanes import Lanes

        def load_float32(word: int, *strides: int) -> Lanes:
            return Lanes(e, place.read(self.first_word + word, *strides))

        def load_bool(word: int, *strides: int) -> Lanes:
            return Lanes(e, place.read_bool(self.first_word + word, *strides))

        def truth(number: bool) -> Lanes:
            return Lanes(e, e.constant(int(number), e.vector_of(I1)))

        return {"load_float32": load_float32, "load_bool": load_bool, "truth": truth}


def coordinates_in(loop: Loop, place: Index) -> dict[Any, Index]:
    """The loop's variables, given where in its target's memory the element lies."""
    found: dict[Any, Index] = {}
    for variable in loop.dims:
        stride = loop.write.stride(variable)
        if variable.size == 1:
            found[variable] = ZERO
        elif not stride:
            raise NotFusible("it writes an element twice")
        else:
            found[variable] = (place // stride) % variable.size
    if loop.write.substitute(found) != place:
        raise NotFusible("its target is laid out otherwise")
    return found


def trace(loop: Loop, product: Buffer, matrix: tuple[int, int, int]) -> tuple[Trace, str]:
    """The loop as text, and the name of its result.

    Raises NotFusible where it cannot be an epilogue of a product that fills `product`.
    """
    images, rows, columns = matrix
    if loop.is_reduction or loop.scatter:
        raise NotFusible("it is no pointwise loop")
    if loop.target.dtype != "float32" or loop.target.size != images * rows * columns:
        raise NotFusible("its target is another kind of memory")
    if any(v.size == 0 for v in loop.dims):
        raise NotFusible("it is empty")
    sizes = zip(("image", "row", "column"), matrix, strict=True)
    variables = tuple(Variable(name, size) for name, size in sizes)
    terms = [symbol(v) * s for v, s in zip(variables, (rows * columns, columns, 1), strict=True)]
    place = sum((t for t, v in zip(terms, variables, strict=True) if v.size > 1), ZERO)
    tracer = Trace(product, place, variables)
    result = loop.result(tracer, coordinates_in(loop, place))
    if not tracer.lines and result.code == "product":
        raise NotFusible("it only copies")
    return tracer, result.code


def join(step: Step, loop: Loop) -> Step:
    """The step with the loop as its epilogue. Raises NotFusible."""
    from inductor.templates.finish import EXTRA

    assert step.matrix is not None
    traced, result = trace(loop, step.outputs[0], step.matrix)
    epilogue = Epilogue(traced.lines, result, EXTRA + step.words)

    def make(reference: Any) -> list[Any]:
        def place(what: Buffer | Word, offset: int = 0) -> Any:
            if isinstance(what, Word):
                return reference(what.buffer, what.offset + offset)
            return reference(what, offset)

        return step.make(place, loop.target, epilogue, traced.words)

    inputs = list(dict.fromkeys([*step.inputs, *(word.buffer for word in traced.words)]))
    outputs = [loop.target, *step.outputs[1:]]
    return replace(
        step, name=f"{step.name}+{loop.name}", inputs=inputs, outputs=outputs, make=make, matrix=None
    )


def fuse(operations: Sequence[Any], results: Iterable[Buffer]) -> list[Any]:
    """The operations of a graph, with loops joined to the steps whose output only they read."""
    from inductor.scheduler import reads_of, writes_of

    wanted = set(results)
    readers: dict[Buffer, list[Any]] = {}
    writers: dict[Buffer, int] = {}
    for operation in operations:
        for buffer in reads_of(operation):
            readers.setdefault(buffer, []).append(operation)
        for buffer in writes_of(operation):
            writers[buffer] = writers.get(buffer, 0) + 1
    replaced: dict[int, Any] = {}
    for operation in operations:
        if not isinstance(operation, Step) or operation.matrix is None:
            continue
        product = operation.outputs[0]
        (reader, *others) = readers.get(product) or [None]
        lonely = not others and product not in wanted and writers[product] == 1
        if not lonely or not isinstance(reader, Loop) or writers[reader.target] != 1:
            continue
        if id(reader) in replaced:  # it has joined another product, which it adds to this one
            continue
        try:
            replaced[id(reader)] = join(operation, reader)
        except NotFusible:
            continue
        replaced[id(operation)] = None
    chosen = (replaced.get(id(operation), operation) for operation in operations)
    return [operation for operation in chosen if operation is not None]
