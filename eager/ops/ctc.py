"""Connectionist temporal classification: the likelihood of a labelling without an alignment, summed
over all alignments by dynamic programming in log space, with its derivative from the same tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager.op import composite, extern
from eager.ops.activation import widen
from eager.registry import ops
from eager.spec import Spec


def _spec(log_probs: Any, targets: Any, input_lengths: tuple, target_lengths: tuple, blank: int,
          zero_infinity: bool) -> tuple:
    batch = log_probs.shape[1]
    if len(input_lengths) != batch:
        raise RuntimeError(f"input_lengths must be of size batch_size: got {len(input_lengths)} "
                           f"lengths for a batch of {batch}")
    if len(target_lengths) != batch:
        raise RuntimeError(f"target_lengths must be of size batch_size: got {len(target_lengths)} "
                           f"lengths for a batch of {batch}")
    if not 0 <= blank < log_probs.shape[2]:
        raise RuntimeError("blank must be in label range")
    if any(n > log_probs.shape[0] for n in input_lengths):
        raise RuntimeError("Expected input_lengths to have value at most "
                           f"{log_probs.shape[0]}, but got value {max(input_lengths)}")
    return (Spec((batch,), log_probs.dtype, log_probs.device),
            Spec(log_probs.shape, log_probs.dtype, log_probs.device))


def _add_logs(*terms: np.ndarray) -> np.ndarray:
    result = terms[0]
    for term in terms[1:]:
        result = np.logaddexp(result, term)
    return result


def _shift(row: np.ndarray, by: int) -> np.ndarray:
    """A row moved to the right, with minus infinity where nothing was."""
    moved = np.full_like(row, -np.inf)
    if by < len(row):
        moved[by:] = row[:len(row) - by]
    return moved


def _tables(probs: np.ndarray, states: np.ndarray, skips: np.ndarray) -> np.ndarray:
    """The log probability of all ways to be in each state at each time, forwards."""
    table = np.full((len(probs), len(states)), -np.inf, probs.dtype)
    table[0, :2] = probs[0, states[:2]]
    for t in range(1, len(probs)):
        before = table[t - 1]
        over = np.where(skips, _shift(before, 2), -np.inf)
        table[t] = _add_logs(before, _shift(before, 1), over) + probs[t, states]
    return table


def _one(probs: np.ndarray, labels: np.ndarray, blank: int) -> tuple[float, np.ndarray]:
    """The negated log likelihood of one sample, and its derivative by the log probabilities."""
    states = np.full(2 * len(labels) + 1, blank, np.int64)
    states[1::2] = labels
    skips = np.zeros(len(states), bool)
    skips[3::2] = labels[1:] != labels[:-1]
    if len(probs) == 0:
        return (0.0 if len(labels) == 0 else np.inf), np.zeros_like(probs)
    forwards = _tables(probs, states, skips)
    back = np.zeros(len(states), bool)
    back[3::2] = (labels[1:] != labels[:-1])[::-1]
    backwards = _tables(probs[::-1], states[::-1], back)[::-1, ::-1]
    ends = forwards[-1, -2:] if len(states) > 1 else forwards[-1]
    likelihood = np.logaddexp.reduce(ends)
    through = forwards + backwards
    per_class = np.full_like(probs, -np.inf)
    for state, label in enumerate(states):
        per_class[:, label] = np.logaddexp(per_class[:, label], through[:, state])
    return -likelihood, np.exp(probs) - np.exp(per_class - likelihood - probs)


@extern(spec=_spec, saves="out", method=False,
        vjp=lambda g, out, *rest: g[0].reshape((1, -1, 1)) * out[1])
def ctc_loss_forward(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity):
    """For each sample the negated log likelihood of its labels, and the derivatives of these; with
    `zero_infinity` both are zero for labels that no alignment can give."""
    length, batch, classes = log_probs.shape
    if len(input_lengths) != batch or len(target_lengths) != batch or not 0 <= blank < classes:
        raise ValueError("lengths do not fit")
    if any(not 0 <= n <= length for n in input_lengths):
        raise ValueError("input_lengths do not fit")
    if targets.size and (targets.min() < 0 or targets.max() >= classes):
        raise IndexError(f"a label is out of range for {classes} classes")
    work = widen(log_probs)
    losses, slopes = np.empty(batch, work.dtype), np.zeros(work.shape, work.dtype)
    start = 0
    for i, (steps, count) in enumerate(zip(input_lengths, target_lengths)):
        if targets.ndim == 1:
            labels, start = targets[start:start + count], start + count
        else:
            labels = targets[i, :count]
        losses[i], slopes[:steps, i] = _one(work[:steps, i], labels, blank)
        if zero_infinity and np.isinf(losses[i]):
            losses[i], slopes[:, i] = 0, 0
    return losses.astype(log_probs.dtype), slopes.astype(log_probs.dtype)


def _numbers(lengths: Any) -> tuple:
    return tuple(int(n) for n in (lengths.tolist() if hasattr(lengths, "tolist") else lengths))


@composite(method=False)
def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean",
             zero_infinity=False):
    """The CTC loss of log probabilities (time, batch, classes); labels padded, or one after the
    other in one dimension. The mean is over samples, each divided by its number of labels."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if log_probs.ndim == 2:
        targets = targets.unsqueeze(0) if targets.ndim == 1 else targets
        lengths = [n.reshape((-1,)) if hasattr(n, "reshape") else (n if isinstance(
            n, (tuple, list)) else (n,)) for n in (input_lengths, target_lengths)]
        loss = ctc_loss.function(log_probs.unsqueeze(1), targets, *lengths, blank, "none",
                                 zero_infinity)
        counts = _numbers(lengths[1])
        loss = loss / max(counts[0], 1) if reduction == "mean" else loss
        return loss.squeeze(0)
    counts = _numbers(target_lengths)
    loss = ops.ctc_loss_forward(log_probs, targets, _numbers(input_lengths), counts, blank,
                                zero_infinity)[0]
    if reduction == "mean":
        return _mean(loss, counts)
    return loss.sum() if reduction == "sum" else loss


def _mean(loss: Any, counts: tuple) -> Any:
    parts = [part / max(count, 1) for part, count in zip(ops.unbind(loss, 0), counts)]
    return ops.stack(parts, 0).mean()
