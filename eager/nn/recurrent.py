"""Recurrent layers: RNN, LSTM, GRU and their cells, modules that hold the weights of the operators in
`eager.ops.recurrent`. Weights, their names and their order are PyTorch's.
"""

from __future__ import annotations

import math
from typing import Any

from eager.nn import init
from eager.nn.module import Module
from eager.nn.parameter import Parameter
from eager.nn.sequence import PackedSequence
from eager.registry import ops

_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


class RNNBase(Module):
    """Layers of a recurrent step over time, in one or both directions.

    Raises ValueError or TypeError for options that make no sense."""

    __constants__ = ["mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first",
                     "dropout", "bidirectional", "proj_size"]

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1 or isinstance(
                dropout, bool):
            raise ValueError("dropout should be a number in range [0, 1] representing the "
                             "probability of an element being zeroed")
        if not isinstance(hidden_size, int):
            raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
        if hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable "
                             "projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        self.mode, self.input_size, self.hidden_size = mode, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional, self.proj_size = float(dropout), bidirectional, proj_size
        self._names = []
        rows, state = _GATES[mode] * hidden_size, proj_size or hidden_size
        directions = 2 if bidirectional else 1
        for layer in range(num_layers):
            width = input_size if layer == 0 else state * directions
            for suffix in ("", "_reverse")[:directions]:
                shapes: dict[str, tuple] = {"weight_ih": (rows, width), "weight_hh": (rows, state)}
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if proj_size:
                    shapes |= {"weight_hr": (proj_size, hidden_size)}
                for name, shape in shapes.items():
                    self.register_parameter(
                        f"{name}_l{layer}{suffix}",
                        Parameter(ops.empty(shape, dtype=dtype, device=device)))
                self._names.append([f"{name}_l{layer}{suffix}" for name in shapes])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within one over the root of hidden_size."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing: there is no packed form."""

    @property
    def all_weights(self) -> list:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._names]

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.proj_size != 0:
            parts.append(f"proj_size={self.proj_size}")
        if self.num_layers != 1:
            parts.append(f"num_layers={self.num_layers}")
        if self.bias is not True:
            parts.append(f"bias={self.bias}")
        if self.batch_first is not False:
            parts.append(f"batch_first={self.batch_first}")
        if self.dropout != 0:
            parts.append(f"dropout={self.dropout}")
        if self.bidirectional is not False:
            parts.append(f"bidirectional={self.bidirectional}")
        return ", ".join(parts)

    def _start(self, input: Any, hx: Any, single: bool) -> tuple:
        """The states to start from, each (layers * directions, batch, features)."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        sizes = [self.proj_size or self.hidden_size, self.hidden_size]
        names = ("hx",) if self.mode != "LSTM" else ("hx[0]", "hx[1]")
        wanted = [(count, input.shape[1], size) for size in sizes[:len(names)]]
        if hx is None:
            return tuple(ops.zeros(shape, dtype=input.dtype, device=input.device)
                         for shape in wanted)
        states = tuple(hx) if self.mode == "LSTM" else (hx,)
        rank = 2 if single else 3
        for state in states:
            if state.dim() != rank:
                raise RuntimeError(f"For {'unbatched 2-D' if single else 'batched 3-D'} input, hx "
                                   f"should also be {rank}-D but got {state.dim()}-D tensor")
        states = tuple(state.unsqueeze(1) for state in states) if single else states
        for state, shape, name in zip(states, wanted, names):
            if tuple(state.shape) != shape:
                raise RuntimeError(f"Expected hidden {name} size {shape}, got {list(state.shape)}")
        return states

    @property
    def _flat_weights(self) -> list:
        """The parameters in the order in which the operators take them."""
        return [getattr(self, name) for names in self._names for name in names]

    def _run(self, x: Any, sizes: Any, states: tuple) -> tuple:
        """All layers: the outputs over time, and the last states. `sizes` says how many sequences
        each step of a packed input has."""
        found = {"LSTM": ops.lstm, "GRU": ops.gru, "RNN_TANH": ops.rnn_tanh,
                 "RNN_RELU": ops.rnn_relu}[self.mode]
        hx: Any = states if self.mode == "LSTM" else states[0]
        call = (self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
                self.bidirectional)
        x, *ends = found(x, hx, *call, False) if sizes is None else found(x, sizes, hx, *call)
        return x, ends

    def forward(self, input: Any, hx: Any = None) -> tuple:
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            raise ValueError(f"{self._get_name()}: Expected input to be 2D or 3D, got "
                             f"{input.dim()}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected "
                               f"{self.input_size}, got {input.shape[-1]}")
        single = input.dim() == 2
        turned = self.batch_first and not single
        x = input.unsqueeze(1) if single else input.transpose(0, 1) if turned else input
        x, ends = self._run(x, None, self._start(x, hx, single))
        if single:
            x, ends = x.squeeze(1), [end.squeeze(1) for end in ends]
        x = x.transpose(0, 1) if turned else x
        return x, tuple(ends) if self.mode == "LSTM" else ends[0]

    def _forward_packed(self, input: PackedSequence, hx: Any) -> tuple:
        sizes = input.batch_sizes.tolist()
        if hx is not None and input.sorted_indices is not None:
            hx = _permuted(hx, input.sorted_indices)
        states = self._start(input.data[:sizes[0]].unsqueeze(0), hx, False)
        x, ends = self._run(input.data, input.batch_sizes, states)
        result: Any = tuple(ends) if self.mode == "LSTM" else ends[0]
        if input.unsorted_indices is not None:
            result = _permuted(result, input.unsorted_indices)
        return PackedSequence(x, *input[1:]), result


def _permuted(states: Any, order: Any) -> Any:
    """States with their sequences in another order."""
    if isinstance(states, (tuple, list)):
        return tuple(ops.index_select(state, 1, order) for state in states)
    return ops.index_select(states, 1, order)


class RNN(RNNBase):
    """Elman's recurrent network, with tanh or relu."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1,
                 nonlinearity: str = "tanh", bias: bool = True, batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
                 dtype: Any = None) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or "
                             "'relu'.")
        mode = "RNN_" + nonlinearity.upper()
        super().__init__(mode, input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, 0, device, dtype)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 proj_size: int = 0, device: Any = None, dtype: Any = None) -> None:
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, proj_size, device, dtype)


class GRU(RNNBase):
    """Gated recurrent units."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, 0, device, dtype)


class RNNCellBase(Module):
    """One recurrent step."""

    __constants__ = ["input_size", "hidden_size", "bias"]

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size),
                  "bias_ih": (rows,), "bias_hh": (rows,)}
        for name, shape in shapes.items():
            made = bias or not name.startswith("bias")
            self.register_parameter(name, Parameter(ops.empty(shape, dtype=dtype, device=device))
                                    if made else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within one over the root of hidden_size."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.bias is not True:
            parts.append(f"bias={self.bias}")
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            parts.append(f"nonlinearity={self.nonlinearity}")
        return ", ".join(parts)

    def _step(self, step: Any, input: Any, hx: Any) -> Any:
        """`step`, an operator, on a batch or on one sample; states that are not given are 0."""
        if input.dim() not in (1, 2):
            raise ValueError(f"{type(self).__name__}: Expected input to be 1D or 2D, got "
                             f"{input.dim()}D instead")
        single = input.dim() == 1
        x = input.unsqueeze(0) if single else input
        zeros = ops.zeros((x.shape[0], self.hidden_size), dtype=x.dtype, device=x.device)
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        if step is ops.lstm_cell:
            states = (zeros, zeros) if hx is None else tuple(hx)
            states = tuple(s.unsqueeze(0) for s in states) if single and hx is not None else states
            found = step(x, states, *weights)
            return tuple(state.squeeze(0) for state in found) if single else found
        if hx is None:
            hx = zeros
        elif single:
            hx = hx.unsqueeze(0)
        found = step(x, hx, *weights)
        return found.squeeze(0) if single else found


class RNNCell(RNNCellBase):
    """One step of RNN."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True,
                 nonlinearity: str = "tanh", device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        step = ops.rnn_tanh_cell if self.nonlinearity == "tanh" else ops.rnn_relu_cell
        return self._step(step, input, hx)


class LSTMCell(RNNCellBase):
    """One step of LSTM."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple:
        return self._step(ops.lstm_cell, input, hx)


class GRUCell(RNNCellBase):
    """One step of GRU."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._step(ops.gru_cell, input, hx)
