"""Sequences of different lengths: padded to one tensor, or packed step by step for recurrent layers.
Known to users as `torch.nn.utils.rnn`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from eager.construct import as_tensor
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
    data, sizes = ops._pack_padded_sequence(input, lengths, batch_first)
    return PackedSequence(data, sizes, order, None)


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False,
                        padding_value: float = 0.0, total_length: int | None = None) -> tuple:
    """Packed sequences, padded; and their lengths.

    Raises ValueError for a total length below the longest."""
    longest = sequence.batch_sizes.shape[0]
    if total_length is not None and total_length < longest:
        raise ValueError("Expected total_length to be at least the length of the longest sequence "
                         f"in input, but got total_length={total_length} and max sequence length "
                         f"being {longest}")
    padded, lengths = ops._pad_packed_sequence(
        sequence.data, sequence.batch_sizes, batch_first, padding_value, total_length or 0)
    if sequence.unsorted_indices is not None:
        order = sequence.unsorted_indices
        padded = ops.index_select(padded, 0 if batch_first else 1, order)
        lengths = ops.index_select(lengths, 0, order)
    return padded, lengths


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
