"""Sequences of different lengths: padded to one tensor, or packed step by step for recurrent layers.
Known to users as `torch.nn.utils.rnn`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from eager.construct import as_tensor, tensor
from eager.dtype import int64
from eager.registry import ops
from eager.tensor import Tensor


class PackedSequence(NamedTuple("PackedSequence", [
        ("data", Any), ("batch_sizes", Any), ("sorted_indices", Any), ("unsorted_indices", Any)])):
    """The steps of several sequences, longest first: all first steps, then all second ones, …

    `batch_sizes` says how many sequences have each step."""

    __slots__ = ()

    def __new__(cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None,
                unsorted_indices: Any = None) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with moved or cast data."""
        return type(self)(self.data.to(*args, **kwargs), *self[1:])

    @property
    def is_cuda(self) -> bool:
        """Never: there is no such device here."""
        return self.data.is_cuda


def invert_permutation(permutation: Any) -> Any:
    """Where each position went; None stays None."""
    if permutation is None:
        return None
    positions = ops.arange(permutation.numel(), device=permutation.device)
    return ops.scatter(ops.zeros_like(permutation), 0, permutation, positions)


def pack_padded_sequence(input: Any, lengths: Any, batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:
    """Padded sequences, packed.

    Raises RuntimeError for lengths that are not sorted (unless `enforce_sorted` is false), not
    positive or too many."""
    lengths = as_tensor(lengths, dtype=int64)
    order = None
    if not enforce_sorted:
        lengths, order = ops.sort(lengths, descending=True)
        input = ops.index_select(input, 0 if batch_first else 1, order)
    input = input.transpose(0, 1) if batch_first else input
    counts = lengths.tolist()
    if len(counts) != input.shape[1]:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got "
                           f"{len(counts)} (batch_size={input.shape[1]})")
    if any(a < b for a, b in zip(counts, counts[1:])):
        raise RuntimeError("`lengths` array must be sorted in decreasing order when "
                           "`enforce_sorted` is True. You can pass `enforce_sorted=False` to "
                           "pack_padded_sequence and/or pack_sequence to sidestep this "
                           "requirement if you do not need ONNX exportability.")
    if counts and counts[-1] <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element "
                           "in 'lengths' that is <= 0")
    sizes = [sum(count > step for count in counts) for step in range(counts[0])]
    data = ops.cat([input[step, :size] for step, size in enumerate(sizes)], 0)
    return PackedSequence(data, tensor(sizes), order, None)


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False,
                        padding_value: float = 0.0, total_length: int | None = None) -> tuple:
    """Packed sequences, padded; and their lengths.

    Raises ValueError for a total length below the longest."""
    sizes = sequence.batch_sizes.tolist()
    longest = len(sizes)
    if total_length is not None and total_length < longest:
        raise ValueError("Expected total_length to be at least the length of the longest sequence "
                         f"in input, but got total_length={total_length} and max sequence length "
                         f"being {longest}")
    batch, rows = sizes[0], []
    for step in ops.split(sequence.data, sizes, 0):
        missing = batch - step.shape[0]
        widths = (0, 0) * (step.dim() - 1) + (0, missing)
        rows.append(ops.constant_pad_nd(step, widths, padding_value) if missing else step)
    padded = ops.stack(rows, 0)
    if total_length is not None and total_length > longest:
        widths = (0, 0) * (padded.dim() - 1) + (0, total_length - longest)
        padded = ops.constant_pad_nd(padded, widths, padding_value)
    lengths = tensor([sum(size > i for size in sizes) for i in range(batch)])
    if sequence.unsorted_indices is not None:
        padded = ops.index_select(padded, 1, sequence.unsorted_indices)
        lengths = ops.index_select(lengths, 0, sequence.unsorted_indices)
    return padded.transpose(0, 1) if batch_first else padded, lengths


def pad_sequence(sequences: Any, batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Any:
    """Sequences of different lengths as one tensor."""
    if not isinstance(sequences, (Tensor, Sequence)):
        raise RuntimeError(f"pad_sequence: Expected iterable for input sequences, but got arg of "
                           f"type: {type(sequences)}")
    if padding_side not in ("left", "right"):
        raise RuntimeError("Expected padding_side to be one of left or right, but got "
                           f"{padding_side}.")
    rows = list(sequences)
    longest = max(row.shape[0] for row in rows)
    padded = []
    for row in rows:
        missing = longest - row.shape[0]
        ends = (missing, 0) if padding_side == "left" else (0, missing)
        padded.append(ops.constant_pad_nd(row, (0, 0) * (row.dim() - 1) + ends, padding_value))
    return ops.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list:
    """One tensor as the sequences that were padded to it."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:length] for row, length in zip(rows, as_tensor(lengths).tolist())]


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Sequences of different lengths, packed."""
    lengths = [sequence.shape[0] for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list:
    """Packed sequences, one by one."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
