"""What is done with one entry of the database: its samples called in both libraries, in every form, with gradients and errors."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import flambeau
from eager.registry import registry
from eager.tensor import Tensor
from tests.sweep import convert
from tests.sweep.compare import (
    Difference,
    attempt,
    same,
    same_distribution,
    same_error,
    same_memory,
    tensors,
)
from tests.sweep.convert import Missing, Unconvertible
from tests.sweep.database import GAUGES, TIES, UNDEFINED_VALUES


@dataclass(frozen=True)
class Options:
    """How much is swept."""

    dtypes: tuple[str, ...] = ("float32", "int64")
    samples: int = 20
    gradients: bool = True
    errors: bool = True
    seconds: int = 120


@dataclass
class Outcome:
    """What one entry gave. `failures` are (check, where, message), the first of each check and dtype kept."""

    label: str
    tried: int = 0
    passed: int = 0
    missing: str = ""
    skipped: Counter = field(default_factory=Counter)
    checks: Counter = field(default_factory=Counter)
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def record(self, check: str, where: str, run: Callable[[], None]) -> bool:
        """Run one comparison; `check` prefixes the kind of difference that it raises."""
        self.checks[check] += 1
        try:
            run()
        except Unconvertible as reason:
            self.skipped[str(reason)] += 1
        except Missing as reason:
            self.fail(check, where, f"missing: {reason}")
            return False
        except Difference as difference:
            kind = difference.check if check == "call" else check
            self.fail(kind, where, f"{difference.check}: {difference}" if check != "call" else str(difference))
            return False
        return True

    def fail(self, check: str, where: str, message: str) -> None:
        self.failures.append((check, where, message))


@dataclass
class Sample:
    """One sample in both libraries; `mine()` and `theirs()` give fresh arguments over fresh memory."""

    source: Any
    dtype: torch.dtype
    number: int

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} #{self.number} {describe(self.source)}"

    def theirs(self) -> tuple[tuple, dict]:
        return copied((self.source.input, *self.source.args)), copied(self.source.kwargs)

    def mine(self) -> tuple[tuple, dict]:
        return convert.value((self.source.input, *self.source.args)), convert.value(self.source.kwargs)


def copied(given: Any) -> Any:
    """The same arguments over copies of their memory, with their strides; what requires grad is a leaf."""
    if isinstance(given, torch.Tensor) and given.layout is torch.strided and given.device.type == "cpu":
        memory = given.detach().untyped_storage().clone()
        fresh = torch.empty(0, dtype=given.dtype).set_(memory, given.storage_offset(), given.size(), given.stride())
        if given.is_conj():
            fresh = fresh.conj()
        return fresh.requires_grad_(given.requires_grad)
    if isinstance(given, dict):
        return {k: copied(v) for k, v in given.items()}
    if isinstance(given, tuple) and hasattr(given, "_fields"):
        return type(given)(*map(copied, given))
    if isinstance(given, tuple | list):
        return type(given)(map(copied, given))
    return given


def describe(sample: Any) -> str:
    def word(v: Any) -> str:
        if isinstance(v, torch.Tensor):
            strided = "" if v.is_contiguous() else f" strides {v.stride()}"
            return f"{str(v.dtype).removeprefix('torch.')}{list(v.shape)}{strided}"
        if isinstance(v, tuple | list):
            return "(" + ", ".join(map(word, v)) + ")"
        return repr(v)

    words = [word(v) for v in (sample.input, *sample.args)] + [f"{k}={word(v)}" for k, v in sample.kwargs.items()]
    return "(" + ", ".join(words)[:200] + ")"


def spread(found: Iterator, count: int) -> list:
    """At most `count` of the samples, evenly over all of them (the first and the last included)."""
    every = list(itertools.islice(found, 3000))
    if len(every) <= count:
        return every
    return [every[i] for i in np.linspace(0, len(every) - 1, count).round().astype(int)]


def sweep(op: Any, label: str, options: Options) -> Outcome:
    """All checks of one entry."""
    outcome = Outcome(label)
    try:
        mine = convert.function(op)
    except Missing as reason:
        outcome.missing = str(reason)
        return outcome
    supported = op.supported_dtypes("cpu")
    wanted = [dtype for name in options.dtypes if (dtype := getattr(torch, name)) in supported]
    if options.dtypes and not wanted and torch.complex64 in supported:  # what is of complex numbers only
        wanted = [torch.complex64]
    for dtype in wanted:
        sweep_dtype(op, mine, dtype, options, outcome)
    if outcome.missing:
        return outcome
    if options.gradients and op.supports_autograd:
        for dtype, count in ((torch.float64, max(1, options.samples // 2)), (torch.complex128, max(1, options.samples // 6))):
            if dtype in op.supported_backward_dtypes("cpu"):
                sweep_gradients(op, mine, dtype, count, outcome)
    if options.errors and op.error_inputs_func is not None:
        sweep_errors(op, mine, outcome)
    return outcome


def samples_of(op: Any, dtype: torch.dtype, count: int, requires_grad: bool, outcome: Outcome) -> list[Sample]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = spread(op.sample_inputs("cpu", dtype, requires_grad=requires_grad), count)
        except Exception as error:
            outcome.skipped[f"torch's samples: {type(error).__name__}"] += 1
            return []
    return [Sample(s, dtype, i) for i, s in enumerate(found)]


def sweep_dtype(op: Any, mine: Callable, dtype: torch.dtype, options: Options, outcome: Outcome) -> None:
    for sample in samples_of(op, dtype, options.samples, False, outcome):
        before = len(outcome.failures)
        outcome.tried += 1
        try:
            call_forms(op, mine, sample, outcome)
        except Unconvertible as reason:
            outcome.skipped[str(reason)] += 1
            outcome.tried -= 1
            continue
        except Missing as reason:
            outcome.missing = str(reason)
            return
        outcome.passed += len(outcome.failures) == before


def call_forms(op: Any, mine: Callable, sample: Sample, outcome: Outcome) -> None:
    """The function, the method, the operator, the in-place form and `out=` of one sample."""
    args, kwargs = sample.mine()
    their_args, their_kwargs = sample.theirs()
    expected = attempt(lambda: convert.of_torch(op)(*their_args, **their_kwargs))
    found = attempt(lambda: mine(*args, **kwargs))
    if is_random(op, sample, expected):
        compare = lambda: same(found, expected, values=False)
        if outcome.record("call", str(sample), compare) and sample.number < 3 and defined(op):
            outcome.record("call", str(sample), lambda: drawn_alike(op, mine, sample))
        return
    precise = None
    if sample.dtype in _WIDER:
        precise = lambda: convert.of_torch(op)(*widened(sample.theirs()[0]), **widened(sample.theirs()[1]))
    if op.name in GAUGES:
        found, expected = processed(sample, found), sample.source.output_process_fn_grad(expected)
        precise = None
    settle = lambda: same(untied(op, args, kwargs, found), untied(op, their_args, their_kwargs, expected), precise, defined(op))
    outcome.record("call", str(sample), settle)
    if op.name in GAUGES:
        return
    if isinstance(found, BaseException) or isinstance(expected, BaseException):
        return
    memory = lambda: same_memory(found, expected, tensors([args, kwargs], Tensor), tensors([their_args, their_kwargs], torch.Tensor))
    outcome.record("call", str(sample), memory)
    if not defined(op):
        return
    variants(op, sample, expected, precise, outcome)
    if op.supports_out and sample.number < 3 and isinstance(expected, torch.Tensor):
        out_forms(op, mine, sample, expected, precise, outcome)


def processed(sample: Sample, found: Any) -> Any:
    """What the database makes of a result before it differentiates: where vectors are determined up to a phase, what is determined."""
    process = sample.source.output_process_fn_grad
    return found if isinstance(found, BaseException) else (convert.over_flambeau(process) if hasattr(process, "__code__") else process)(found)


def untied(op: Any, args: tuple, kwargs: dict, result: Any) -> Any:
    """Instead of the indices of a result the elements that stand there, for operators that choose among equal elements."""
    if op.name not in TIES or kwargs.get("stable") or isinstance(result, BaseException):
        return result
    known = registry[op.name]
    bound = dict(zip(known.parameters, known.bind(args, kwargs)))
    if args[0].ndim == 0 or op.name != "argsort" and not isinstance(result, tuple):
        return result
    values, indices = (result, result) if op.name == "argsort" else result
    dim, dropped = bound["dim"], not bound.get("keepdim", True)
    there = args[0].gather(dim, indices.unsqueeze(dim) if dropped else indices)
    values = values if isinstance(result, tuple) else there
    return values, there.squeeze(dim) if dropped else there, indices.dtype, indices.shape


def defined(op: Any) -> bool:
    return op.name not in UNDEFINED_VALUES


_WIDER = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}


def widened(given: Any) -> Any:
    """The same arguments in double precision."""
    if isinstance(given, torch.Tensor):
        return given.to(_WIDER.get(given.dtype, given.dtype))
    if isinstance(given, torch.dtype):
        return _WIDER.get(given, given)
    if isinstance(given, dict):
        return {k: widened(v) for k, v in given.items()}
    if isinstance(given, tuple) and hasattr(given, "_fields"):
        return type(given)(*map(widened, given))
    if isinstance(given, tuple | list):
        return type(given)(map(widened, given))
    return given


def is_random(op: Any, sample: Sample, expected: Any) -> bool:
    """torch's second answer, from another seed, is not its first."""
    if isinstance(expected, BaseException) or not defined(op):
        return False
    for seed in range(12 if convert.is_seeded(op) else 2):
        torch.manual_seed(seed)
        args, kwargs = sample.theirs()
        again = attempt(lambda: convert.of_torch(op)(*args, **kwargs))
        for a, b in zip(tensors(again, torch.Tensor), tensors(expected, torch.Tensor)):
            if a.shape != b.shape or not np.array_equal(convert.array(a), convert.array(b), equal_nan=a.is_floating_point() or a.is_complex()):
                return True
    return False


def drawn_alike(op: Any, mine: Callable, sample: Sample) -> None:
    def drawing(function: Callable, make: Callable) -> Callable:
        def draw() -> Any:
            args, kwargs = make()
            return function(*args, **kwargs)

        return draw

    torch.manual_seed(0)
    flambeau.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same_distribution(drawing(mine, sample.mine), drawing(convert.of_torch(op), sample.theirs))


def variants(op: Any, sample: Sample, expected: Any, precise: Callable | None, outcome: Outcome) -> None:
    """The forms that torch has besides the function, each compared with torch's own of that form."""
    for form, theirs in (
        ("method", op.get_method()),
        ("inplace", op.get_inplace()),
        ("operator", getattr(op, "operator_variant", None)),
        ("inplace_operator", getattr(op, "inplace_operator_variant", None)),
    ):
        if theirs is None or (form.startswith("inplace") and sample.source.broadcasts_input):
            continue
        if form in ("method", "operator") and sample.number >= 4:
            continue
        outcome.record(form, str(sample), lambda: same_form(op, theirs, convert.form(op, theirs), form, sample, precise))


def same_form(op: Any, theirs: Callable, mine: Callable, form: str, sample: Sample, precise: Callable | None) -> None:
    their_args, their_kwargs = sample.theirs()
    expected = attempt(lambda: theirs(*their_args, **their_kwargs))
    if isinstance(expected, TypeError):
        return  # the form does not take the function's arguments
    args, kwargs = sample.mine()
    found = attempt(lambda: mine(*args, **kwargs))
    same(untied(op, args, kwargs, found), untied(op, their_args, their_kwargs, expected), precise)
    if form.startswith("inplace") and not isinstance(expected, BaseException):
        if found is not args[0]:
            raise Difference("view", "the in-place form does not return its argument")
        same(args[0], their_args[0], precise)


def out_forms(op: Any, mine: Callable, sample: Sample, expected: torch.Tensor, precise: Callable | None, outcome: Outcome) -> None:
    """`out=` of the right shape, empty, and of a type that cannot hold the result."""
    outs = {
        "right": lambda: torch.full_like(expected, 1, memory_format=torch.contiguous_format),
        "empty": lambda: torch.empty(0, dtype=expected.dtype),
    }
    if expected.is_floating_point():
        outs["long"] = lambda: torch.zeros(expected.shape, dtype=torch.int64)

    def compare(make: Callable) -> None:
        out, (args, kwargs) = make(), sample.theirs()
        wanted = attempt(lambda: convert.of_torch(op)(*args, **kwargs, out=out))
        if isinstance(wanted, TypeError):
            return
        my_out, (args, kwargs) = convert.tensor(make()), sample.mine()
        found = attempt(lambda: mine(*args, **kwargs, out=my_out))
        near = precise if out.dtype == expected.dtype else None
        same(found, wanted, near)
        if isinstance(wanted, BaseException):
            return
        if found is not my_out:
            raise Difference("view", "out= is not what is returned")
        same(my_out, out, near)

    for name, make in outs.items():
        outcome.record("out", f"out={name} {sample}", lambda: compare(make))


# -- gradients -------------------------------------------------------------------------------------


def sweep_gradients(op: Any, mine: Callable, dtype: torch.dtype, count: int, outcome: Outcome) -> None:
    """First and second gradients against torch's, for every input that requires grad."""
    for sample in samples_of(op, dtype, count, True, outcome):
        before = len(outcome.failures)
        outcome.tried += 1
        try:
            args, kwargs = sample.theirs()
            if not any(t.requires_grad for t in tensors([args, kwargs], torch.Tensor)):
                outcome.tried -= 1
                continue
            if is_random(op, sample, attempt(lambda: convert.of_torch(op)(*args, **kwargs))):
                outcome.skipped["gradients of random values"] += 1
                outcome.tried -= 1
                continue
            convert.value((sample.source.input, sample.source.args, sample.source.kwargs))
        except Unconvertible as reason:
            outcome.skipped[str(reason)] += 1
            outcome.tried -= 1
            continue
        second = op.supports_gradgrad and sample.number < 4
        compare_gradients(op, mine, sample, second, outcome)
        outcome.passed += len(outcome.failures) == before


def compare_gradients(op: Any, mine: Callable, sample: Sample, second: bool, outcome: Outcome) -> None:
    process = sample.source.output_process_fn_grad
    wrapper = op.gradcheck_wrapper
    if op.name.startswith("masked."):  # it would hide what is masked out entirely
        wrapper = lambda function, *a, **k: function(*a, **k)
    theirs = lambda *a, given=wrapper, **k: given(convert.of_torch(op), *a, **k)
    if getattr(wrapper, "__module__", "").startswith("torch"):
        wrapper = convert.over_flambeau(wrapper)
    ours = lambda *a, **k: wrapper(mine, *a, **k)
    expected = attempt(lambda: gradients(torch, theirs, process, sample.theirs(), second))
    if expected is None or isinstance(expected, BaseException):
        return
    found = attempt(lambda: gradients(flambeau, ours, lambda found: processed(sample, found), sample.mine(), second))
    for order, name in enumerate(("gradient", "gradgrad")[: 1 + second]):
        if isinstance(found, BaseException):
            outcome.record(name, str(sample), lambda: same(found, expected[order]))
            return
        if found is None:
            outcome.fail(name, str(sample), "the result does not require grad")
            return
        if not outcome.record(name, str(sample), lambda: same_gradients(found[order], expected[order])):
            return


def same_gradients(mine: list, theirs: list) -> None:
    if len(mine) != len(theirs):
        raise Difference("type", f"{len(mine)} gradients instead of {len(theirs)}")
    for i, (m, t) in enumerate(zip(mine, theirs)):
        try:
            same(m, t)
        except Difference as difference:
            raise Difference(difference.check, f"of input {i}: {difference}") from None


def gradients(library: Any, function: Callable, process: Callable, arguments: tuple, second: bool) -> Any:
    """The gradients of a fixed combination of the results, and those of a fixed combination of the gradients."""
    args, kwargs = arguments
    kind = library.Tensor
    inputs = [t for t in tensors([args, kwargs], kind) if t.requires_grad]
    result = process(function(*args, **kwargs))
    outputs = [t for t in tensors(result, kind) if t.requires_grad]
    if not outputs:
        return None
    weights = [weight(library, t, 1).requires_grad_(second) for t in outputs]
    first = library.autograd.grad(outputs, inputs, weights, create_graph=second, allow_unused=True)
    first = [library.zeros_like(x) if g is None else g for g, x in zip(first, inputs)]
    if not second:
        return [first]
    again = [g for g in first if g.requires_grad]
    values = [g.detach() for g in first]
    aims = inputs + weights
    if not again:
        return values, [library.zeros_like(x) for x in aims]
    ends = [weight(library, g, 2) for g in again]
    found = library.autograd.grad(again, aims, ends, allow_unused=True)
    return values, [library.zeros_like(x) if g is None else g for g, x in zip(found, aims)]


def weight(library: Any, like: Any, seed: int) -> Any:
    """A fixed tensor of the shape and type of another."""
    source = np.random.default_rng(seed)
    values = source.uniform(0.5, 1.5, tuple(like.shape))
    if like.is_complex():
        values = values + 1j * source.uniform(0.5, 1.5, tuple(like.shape))
    return library.tensor(values.tolist(), dtype=like.dtype).reshape(tuple(like.shape))


# -- errors ----------------------------------------------------------------------------------------


def sweep_errors(op: Any, mine: Callable, outcome: Outcome) -> None:
    """What torch refuses, flambeau refuses with the same class of exception."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            cases = list(op.error_inputs("cpu"))
        except Exception as error:
            outcome.skipped[f"torch's error samples: {type(error).__name__}"] += 1
            return
    for number, case in enumerate(cases):
        sample = Sample(case.sample_input, torch.float32, number)
        try:
            args, kwargs = sample.theirs()
            expected = attempt(lambda: convert.of_torch(op)(*args, **kwargs))
            if not isinstance(expected, BaseException):
                outcome.skipped["torch accepts its error sample"] += 1
                continue
            args, kwargs = sample.mine()
        except Unconvertible as reason:
            outcome.skipped[str(reason)] += 1
            continue
        outcome.tried += 1
        found = attempt(lambda: mine(*args, **kwargs))
        where = f"error #{number} {describe(case.sample_input)}"
        outcome.passed += outcome.record("error", where, lambda: same_error(found, expected))
