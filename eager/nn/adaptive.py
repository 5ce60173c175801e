"""Softmax over many classes in clusters: frequent ones in a head, rare ones in tails with smaller
projections (Grave et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from eager.nn.container import ModuleList, Sequential
from eager.nn.linear import Linear
from eager.nn.module import Module
from eager.registry import ops


class _ASMoutput(NamedTuple("ASMoutput", [("output", Any), ("loss", float)])):
    """The log probability of each target, and the mean of their negations."""

    __slots__ = ()


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log probabilities of classes that are numbered from the most frequent on.

    Raises ValueError for cutoffs that are not sorted, unique and below the number of classes."""

    def __init__(self, in_features: int, n_classes: int, cutoffs: Sequence[int],
                 div_value: float = 4.0, head_bias: bool = False, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (cutoffs != sorted(set(cutoffs)) or cutoffs[0] <= 0 or cutoffs[-1] > n_classes - 1
                or any(int(c) != c for c in cutoffs)):
            raise ValueError("cutoffs should be a sequence of unique, positive integers sorted in "
                             "an increasing order, where each value is between 1 and n_classes-1")
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = self.cutoffs[0], len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        where = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **where)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            width = int(in_features // (div_value ** (i + 1)))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(Sequential(Linear(in_features, width, bias=False, **where),
                                        Linear(width, size, bias=False, **where)))

    def reset_parameters(self) -> None:
        """As Linear, in every part."""
        self.head.reset_parameters()
        for projection, output in self.tail:
            projection.reset_parameters()
            output.reset_parameters()

    def log_prob(self, input: Any) -> Any:
        """The log probabilities of all classes."""
        head = ops.log_softmax(self.head(input), 1)
        parts = [head[:, :self.shortlist_size]]
        for i, tail in enumerate(self.tail):
            cluster = head[:, self.shortlist_size + i].unsqueeze(1)
            parts.append(ops.log_softmax(tail(input), 1) + cluster)
        return ops.cat(parts, 1)

    def predict(self, input: Any) -> Any:
        """The most likely class of each sample."""
        return ops.argmax(self.log_prob(input), 1)

    def forward(self, input_: Any, target_: Any) -> _ASMoutput:
        single = target_.dim() == 0
        if input_.dim() != (1 if single else 2):
            raise RuntimeError(f"{'1D' if target_.dim() else '0D'} target tensor expects "
                               f"{'2D' if target_.dim() else '1D'} input tensors, but found inputs "
                               f"with sizes {input_.shape}.")
        if target_.dim() > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        input, target = ((input_.unsqueeze(0), target_.unsqueeze(0)) if single
                         else (input_, target_))
        if input.shape[0] != target.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if bool(((target < 0) | (target >= self.n_classes)).any()):
            raise RuntimeError("Target values should be in [0, n_classes - 1], but values in range "
                               f"[{target.min().item()}, {target.max().item()}] were found. ")
        output = ops.gather(self.log_prob(input), 1, target.unsqueeze(1)).squeeze(1)
        loss = -output.mean()
        return _ASMoutput(output.squeeze(0) if single else output, loss)
