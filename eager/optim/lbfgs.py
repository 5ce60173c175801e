"""LBFGS: a quasi-Newton method that evaluates its closure several times per step, with an optional
line search for the strong Wolfe conditions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eager.autograd import enable_grad, no_grad
from eager.optim.optimizer import Optimizer, check_range, number
from eager.registry import ops


class LBFGS(Optimizer):
    """Limited-memory BFGS over one group of parameters.

    Raises ValueError for a bad learning rate or more than one group."""

    def __init__(
        self, params: Any, lr: Any = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_range("learning rate", lr, number(lr) >= 0.0)
        max_eval = max_iter * 5 // 4 if max_eval is None else max_eval
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter, "max_eval": max_eval, "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn})
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    def _flat_gradient(self) -> Any:
        return ops.cat([param.new_zeros(param.numel()) if param.grad is None
                    else param.grad.reshape(-1) for param in self._params], 0)

    def _move(self, size: float, direction: Any) -> None:
        offset = 0
        for param in self._params:
            count = param.numel()
            param.add_(direction[offset:offset + count].view_as(param), alpha=size)
            offset += count

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Minimises; `closure` clears the gradients, computes the loss and calls backward."""
        group, state = self.param_groups[0], self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        def evaluate() -> Any:
            state["func_evals"] += 1
            with enable_grad():
                return closure()

        with no_grad():
            first = evaluate()
            evaluations, loss, gradient = 1, float(first), self._flat_gradient()
            if gradient.abs().max().item() <= group["tolerance_grad"]:
                return first
            for iteration in range(1, group["max_iter"] + 1):
                previous = loss
                size = self._choose_direction(state, gradient, group)
                direction = state["d"]
                slope = gradient.dot(direction).item()
                if slope > -group["tolerance_change"]:
                    break
                if group["line_search_fn"] is not None:
                    loss, gradient, size, used = self._search(
                        evaluate, size, direction, loss, gradient, slope, group)
                    self._move(size, direction)
                else:
                    self._move(size, direction)
                    used = 0
                    if iteration != group["max_iter"]:
                        loss, gradient, used = float(evaluate()), self._flat_gradient(), 1
                evaluations += used
                state["t"], state["prev_loss"] = size, previous
                if (evaluations >= group["max_eval"]
                        or gradient.abs().max().item() <= group["tolerance_grad"]
                        or direction.mul(size).abs().max().item() <= group["tolerance_change"]
                        or abs(loss - previous) < group["tolerance_change"]):
                    break
        return first

    def _choose_direction(self, state: dict, gradient: Any, group: dict) -> float:
        """Puts the new direction into the state and returns the first step size to try."""
        state["n_iter"] += 1
        lr = number(group["lr"])
        if state["n_iter"] == 1:
            state.update(d=gradient.neg(), old_dirs=[], old_stps=[], ro=[], H_diag=1,
                         prev_flat_grad=gradient.clone())
            return min(1.0, 1.0 / gradient.abs().sum().item()) * lr
        change = gradient.sub(state["prev_flat_grad"])
        moved = state["d"].mul(state["t"])
        curvature = change.dot(moved).item()
        if curvature > 1e-10:
            if len(state["old_dirs"]) == group["history_size"]:
                for name in ("old_dirs", "old_stps", "ro"):
                    state[name].pop(0)
            state["old_dirs"].append(change)
            state["old_stps"].append(moved)
            state["ro"].append(1.0 / curvature)
            state["H_diag"] = curvature / change.dot(change).item()
        state["d"] = _two_loops(state, gradient)
        state["prev_flat_grad"] = gradient.clone()
        return lr

    def _search(self, evaluate: Callable, size: float, direction: Any, loss: float, gradient: Any,
                slope: float, group: dict) -> tuple:
        if group["line_search_fn"] != "strong_wolfe":
            raise RuntimeError("only 'strong_wolfe' is supported")
        kept = [param.clone() for param in self._params]

        def probe(at: float) -> tuple[float, Any]:
            self._move(at, direction)
            found = float(evaluate()), self._flat_gradient()
            for param, old in zip(self._params, kept):
                param.copy_(old)
            return found

        return _strong_wolfe(probe, size, direction, loss, gradient, slope,
                             group["tolerance_change"])


def _two_loops(state: dict, gradient: Any) -> Any:
    changes, moves, inverses = state["old_dirs"], state["old_stps"], state["ro"]
    weights = [0.0] * len(changes)
    direction = gradient.neg()
    for i in reversed(range(len(changes))):
        weights[i] = moves[i].dot(direction).item() * inverses[i]
        direction.add_(changes[i], alpha=-weights[i])
    direction = direction.mul(state["H_diag"])
    for i in range(len(changes)):
        back = changes[i].dot(direction).item() * inverses[i]
        direction.add_(moves[i], alpha=weights[i] - back)
    return direction


def _cubic_minimum(x1: float, f1: float, g1: float, x2: float, f2: float, g2: float,
                   bounds: tuple[float, float] | None = None) -> float:
    """The minimum, within bounds, of the cubic with these two values and slopes."""
    low, high = bounds if bounds is not None else (min(x1, x2), max(x1, x2))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1 * d1 - g1 * g2
    if square < 0:
        return (low + high) / 2.0
    d2 = square**0.5
    if x1 <= x2:
        best = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        best = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(best, low), high)


def _strong_wolfe(probe: Callable, size: float, direction: Any, loss: float, gradient: Any,
                  slope: float, tolerance: float, c1: float = 1e-4, c2: float = 0.9,
                  limit: int = 25) -> tuple:
    """Brackets a point that satisfies both conditions, then narrows the bracket.

    Returns loss, gradient, step size, evaluations."""
    largest = direction.abs().max().item()
    new_loss, new_gradient = probe(size)
    used, new_slope = 1, new_gradient.dot(direction).item()
    before = (0.0, loss, gradient, slope)
    rounds = 0
    while rounds < limit:
        point = (size, new_loss, new_gradient, new_slope)
        if new_loss > loss + c1 * size * slope or (rounds > 1 and new_loss >= before[1]):
            bracket = [before, point]
            break
        if abs(new_slope) <= -c2 * slope:
            return new_loss, new_gradient, size, used
        if new_slope >= 0:
            bracket = [before, point]
            break
        bounds = (size + 0.01 * (size - before[0]), size * 10)
        following = _cubic_minimum(before[0], before[1], before[3], size, new_loss, new_slope,
                                   bounds)
        before, size = point, following
        new_loss, new_gradient = probe(size)
        used, new_slope = used + 1, new_gradient.dot(direction).item()
        rounds += 1
    else:
        bracket = [(0.0, loss, gradient, slope), (size, new_loss, new_gradient, new_slope)]
    return _zoom(probe, bracket, direction, loss, slope, largest, tolerance, used, rounds, c1, c2,
                 limit)


def _zoom(probe: Callable, bracket: list, direction: Any, loss: float, slope: float,
          largest: float, tolerance: float, used: int, rounds: int, c1: float, c2: float,
          limit: int) -> tuple:
    stalled = False
    low, high = (0, 1) if bracket[0][1] <= bracket[1][1] else (1, 0)
    while rounds < limit:
        left, right = sorted((bracket[0][0], bracket[1][0]))
        if (right - left) * largest < tolerance:
            break
        size = _cubic_minimum(bracket[0][0], bracket[0][1], bracket[0][3],
                              bracket[1][0], bracket[1][1], bracket[1][3])
        margin = 0.1 * (right - left)
        if min(right - size, size - left) < margin:
            if stalled or size >= right or size <= left:
                near_right = abs(size - right) < abs(size - left)
                size = right - margin if near_right else left + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        new_loss, new_gradient = probe(size)
        new_slope = new_gradient.dot(direction).item()
        used, rounds = used + 1, rounds + 1
        point = (size, new_loss, new_gradient, new_slope)
        if new_loss > loss + c1 * size * slope or new_loss >= bracket[low][1]:
            bracket[high] = point
            low, high = (0, 1) if bracket[0][1] <= bracket[1][1] else (1, 0)
            continue
        if abs(new_slope) <= -c2 * slope:
            bracket[low] = point
            break
        if new_slope * (bracket[high][0] - bracket[low][0]) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
    size, new_loss, new_gradient, _ = bracket[low]
    return new_loss, new_gradient, size, used
