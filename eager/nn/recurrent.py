"""Recurrent layers: RNN, LSTM, GRU and their cells, as plain loops over time in operators.
Weights, their names and their order are PyTorch's.
"""

from __future__ import annotations

import math
from typing import Any

from eager.nn import functional as F
from eager.nn import init
from eager.nn.module import Module
from eager.nn.parameter import Parameter
from eager.nn.sequence import PackedSequence
from eager.registry import ops


def _rnn_step(kind: Any) -> Any:
    def step(x: Any, state: tuple, wh: Any, bh: Any) -> tuple:
        return (kind(x + ops.linear(state[0], wh, bh)),)
    return step


def _lstm_step(x: Any, state: tuple, wh: Any, bh: Any) -> tuple:
    hidden, cell = state
    gates = x + ops.linear(hidden, wh, bh)
    enter, forget, value, leave = ops.chunk(gates, 4, -1)
    cell = ops.sigmoid(forget) * cell + ops.sigmoid(enter) * ops.tanh(value)
    return ops.sigmoid(leave) * ops.tanh(cell), cell


def _gru_step(x: Any, state: tuple, wh: Any, bh: Any) -> tuple:
    hidden = state[0]
    reset_x, update_x, new_x = ops.chunk(x, 3, -1)
    reset_h, update_h, new_h = ops.chunk(ops.linear(hidden, wh, bh), 3, -1)
    reset, update = ops.sigmoid(reset_x + reset_h), ops.sigmoid(update_x + update_h)
    new = ops.tanh(new_x + reset * new_h)
    return ((1 - update) * new + update * hidden,)


_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


def _step_of(mode: str) -> Any:
    return {"RNN_TANH": _rnn_step(ops.tanh), "RNN_RELU": _rnn_step(ops.relu), "LSTM": _lstm_step,
            "GRU": _gru_step}[mode]


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

    def _run(self, input: Any, sizes: list | None, start: tuple, names: list[str],
             backwards: bool) -> tuple:
        """One layer in one direction: the outputs over time, and the last state. `sizes` says how
        many sequences each step of a packed input has."""
        weights = {name.rpartition("_l")[0]: getattr(self, name) for name in names}
        step = _step_of(self.mode)
        projected = ops.linear(input, weights["weight_ih"], weights.get("bias_ih"))
        times = list(ops.unbind(projected, 0) if sizes is None else ops.split(projected, sizes, 0))
        if backwards:
            times.reverse()
        state = start if sizes is None else tuple(s[:times[0].shape[0]] for s in start)
        outputs, ended = [], []
        for x in times:
            rows, had = (x.shape[0], state[0].shape[0]) if sizes is not None else (0, 0)
            if rows < had:  # sequences that end here keep their states
                ended.append([s[rows:] for s in state])
                state = tuple(s[:rows] for s in state)
            elif rows > had:  # backwards, sequences begin at their ends
                state = tuple(ops.cat([s, first[had:rows]], 0) for s, first in zip(state, start))
            state = step(x, state, weights["weight_hh"], weights.get("bias_hh"))
            if "weight_hr" in weights:
                state = (ops.linear(state[0], weights["weight_hr"]), *state[1:])
            outputs.append(state[0])
        if ended:
            state = tuple(ops.cat([s, *(part[i] for part in reversed(ended))], 0)
                          for i, s in enumerate(state))
        if backwards:
            outputs.reverse()
        return ops.stack(outputs, 0) if sizes is None else ops.cat(outputs, 0), state

    def _layers(self, x: Any, sizes: list | None, states: tuple) -> tuple:
        """All layers in all directions: the outputs over time, and the last states."""
        directions = 2 if self.bidirectional else 1
        last: list[tuple] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                place = layer * directions + direction
                output, state = self._run(x, sizes, tuple(s[place] for s in states),
                                          self._names[place], direction == 1)
                outputs.append(output)
                last.append(state)
            x = outputs[0] if directions == 1 else ops.cat(outputs, -1)
            if self.dropout > 0 and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, [ops.stack(list(parts), 0) for parts in zip(*last)]

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
        x, ends = self._layers(x, None, self._start(x, hx, single))
        if single:
            x, ends = x.squeeze(1), [end.squeeze(1) for end in ends]
        x = x.transpose(0, 1) if turned else x
        return x, tuple(ends) if self.mode == "LSTM" else ends[0]

    def _forward_packed(self, input: PackedSequence, hx: Any) -> tuple:
        sizes = input.batch_sizes.tolist()
        if hx is not None and input.sorted_indices is not None:
            hx = _permuted(hx, input.sorted_indices)
        states = self._start(input.data[:sizes[0]].unsqueeze(0), hx, False)
        x, ends = self._layers(input.data, sizes, states)
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

    def _step(self, step: Any, input: Any, states: Any) -> tuple:
        if input.dim() not in (1, 2):
            raise ValueError(f"{type(self).__name__}: Expected input to be 1D or 2D, got "
                             f"{input.dim()}D instead")
        single = input.dim() == 1
        x = input.unsqueeze(0) if single else input
        if states is None:
            zeros = ops.zeros((x.shape[0], self.hidden_size), dtype=x.dtype, device=x.device)
            states = (zeros, zeros)
        elif single:
            states = tuple(state.unsqueeze(0) for state in states)
        found = step(ops.linear(x, self.weight_ih, self.bias_ih), tuple(states), self.weight_hh,
                     self.bias_hh)
        return tuple(state.squeeze(0) for state in found) if single else found


class RNNCell(RNNCellBase):
    """One step of RNN."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True,
                 nonlinearity: str = "tanh", device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        step = _step_of("RNN_" + self.nonlinearity.upper())
        return self._step(step, input, None if hx is None else (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of LSTM."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple:
        return self._step(_lstm_step, input, hx)


class GRUCell(RNNCellBase):
    """One step of GRU."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._step(_gru_step, input, None if hx is None else (hx,))[0]
