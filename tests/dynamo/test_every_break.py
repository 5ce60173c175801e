"""Every program of the neighbouring files, broken before each instruction in turn: the emitted code must rebuild the
stack, the variables and the effects so that Python can go on from there.
"""

import importlib.util
import pathlib

import pytest

from dynamo.testing import run_with_break

_EXPECTED = (
    "resumed", "continued", "Break that was asked for", "Value cannot be rebuilt after a graph",
    "A running generator cannot be rebuilt after a graph",
)  # fmt: skip
HERE = pathlib.Path(__file__).parent


def _programs():
    for name in ("test_programs", "test_language", "test_effects", "test_modules"):
        spec = importlib.util.spec_from_file_location(f"{name}_again", HERE / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for attribute, test in vars(module).items():
            if attribute.startswith("test_") and hasattr(test, "program"):
                function, inputs = test.program
                yield pytest.param(function, inputs, id=f"{name}.{attribute}")


@pytest.mark.parametrize("function, inputs", list(_programs()))
def test_break_before_each_step(function, inputs):
    step, kinds = 1, []
    while step < 400:
        kind = run_with_break(function, inputs, step)
        assert kind != "The compiler failed"
        if kind not in _EXPECTED:
            # The frame has ended, or has a break of its own.
            break
        kinds.append(kind)
        step += 1 if step < 24 else 9
    assert "resumed" in kinds
