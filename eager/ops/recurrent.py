"""Recurrent networks: layers of a step over time, in one or both directions, and the steps
themselves; sequences of different lengths, padded or packed. All in operators, so that they
differentiate and compile like those. Order and layout of weights are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from eager.construct import tensor
from eager.op import composite
from eager.registry import ops
from eager.tensor import Tensor

# Steps: (projected input, states, recurrent weight, recurrent bias) -> states


def _rnn_step(kind: str) -> Callable:
    def step(x: Any, state: tuple, weight: Any, bias: Any) -> tuple:
        return (getattr(ops, kind)(x + ops.linear(state[0], weight, bias)),)
    return step


def _lstm_step(x: Any, state: tuple, weight: Any, bias: Any) -> tuple:
    hidden, cell = state
    gates = x + ops.linear(hidden, weight, bias)
    enter, forget, value, leave = ops.chunk(gates, 4, -1)
    cell = ops.sigmoid(forget) * cell + ops.sigmoid(enter) * ops.tanh(value)
    return ops.sigmoid(leave) * ops.tanh(cell), cell


def _gru_step(x: Any, state: tuple, weight: Any, bias: Any) -> tuple:
    hidden = state[0]
    reset_x, update_x, new_x = ops.chunk(x, 3, -1)
    reset_h, update_h, new_h = ops.chunk(ops.linear(hidden, weight, bias), 3, -1)
    reset, update = ops.sigmoid(reset_x + reset_h), ops.sigmoid(update_x + update_h)
    new = ops.tanh(new_x + reset * new_h)
    return (new + update * (hidden - new),)


# Layers


class _Network(NamedTuple):
    """What a call says besides its tensors."""

    step: Callable
    biases: bool
    layers: int
    dropout: float
    train: bool
    directions: int


def _weights(params: Any, network: _Network, projects: bool) -> list[tuple]:
    """By layer and direction: input and recurrent weight, their biases, the projection. Raises
    RuntimeError for a wrong number of them."""
    size = 2 + 2 * network.biases + projects
    count = network.layers * network.directions
    if len(params) != size * count:
        raise RuntimeError(f"expected {size * count} weights, {size} for each of {count} layers "
                           f"and directions, but got {len(params)}")
    parts = [tuple(params[i * size:(i + 1) * size]) for i in range(count)]
    if network.biases:
        return [part if projects else (*part, None) for part in parts]
    return [(*part[:2], None, None, part[2] if projects else None) for part in parts]


def _along(x: Any, sizes: list | None, start: tuple, weights: tuple, step: Callable,
           backwards: bool) -> tuple:
    """One layer in one direction: the outputs over time, and the last state. `sizes` says how
    many sequences each step of a packed input has."""
    by_input, by_state, bias, state_bias, projection = weights
    projected = ops.linear(x, by_input, bias)
    times = list(ops.unbind(projected, 0) if sizes is None else ops.split(projected, sizes, 0))
    if backwards:
        times.reverse()
    state = start if sizes is None else tuple(s[:times[0].shape[0]] for s in start)
    outputs, ended = [], []
    for at in times:
        rows, had = (at.shape[0], state[0].shape[0]) if sizes is not None else (0, 0)
        if rows < had:  # sequences that end here keep their states
            ended.append([s[rows:] for s in state])
            state = tuple(s[:rows] for s in state)
        elif rows > had:  # backwards, sequences begin at their ends
            state = tuple(ops.cat([s, first[had:rows]], 0) for s, first in zip(state, start))
        state = step(at, state, by_state, state_bias)
        if projection is not None:
            state = (ops.linear(state[0], projection), *state[1:])
        outputs.append(state[0])
    if ended:
        state = tuple(ops.cat([s, *(part[i] for part in reversed(ended))], 0)
                      for i, s in enumerate(state))
    if backwards:
        outputs.reverse()
    return ops.stack(outputs, 0) if sizes is None else ops.cat(outputs, 0), state


def _layers(x: Any, sizes: list | None, states: tuple, params: Any, network: _Network) -> tuple:
    """All layers in all directions: the outputs over time, and the last states."""
    projects = len(states) == 2 and states[0].shape[2] != states[1].shape[2]
    weights = _weights(params, network, projects)
    last: list[tuple] = []
    for layer in range(network.layers):
        outputs = []
        for direction in range(network.directions):
            place = layer * network.directions + direction
            output, state = _along(x, sizes, tuple(s[place] for s in states), weights[place],
                                   network.step, direction == 1)
            outputs.append(output)
            last.append(state)
        x = outputs[0] if len(outputs) == 1 else ops.cat(outputs, -1)
        if network.dropout > 0 and network.train and layer < network.layers - 1:
            x = ops.dropout(x, network.dropout, True)
    return (x, *(ops.stack(list(parts), 0) for parts in zip(*last)))


def _check(x: Any, batch: Any, states: tuple, network: _Network, rank: int) -> None:
    if x.ndim != rank:
        raise RuntimeError(f"expected an input of {rank} dimensions, but got {list(x.shape)}")
    if x.shape[0] == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    count = network.layers * network.directions
    for state in states:
        if state.ndim != 3 or state.shape[0] != count or state.shape[1] != batch:
            raise RuntimeError(f"expected a hidden state of size ({count}, {batch}, *), but got "
                               f"{list(state.shape)}")
        if state.dtype is not x.dtype:
            raise RuntimeError(f"input and hidden state must have one dtype, but got {x.dtype} "
                               f"and {state.dtype}")


def _run(step: Callable, states: int, form: tuple) -> tuple:
    """Both forms of a call: `(input, hx, params, has_biases, num_layers, dropout, train,
    bidirectional, batch_first)`, and `(data, batch_sizes, hx, params, …, bidirectional)`."""
    packed = isinstance(form[1 if states == 2 else 2], Tensor)
    sizes = form[1].tolist() if packed else None
    x, hx, params, biases, layers, dropout, train, bidirectional = (
        (form[0], *form[2:]) if packed else form[:8])
    start = tuple(hx) if states == 2 else (hx,)
    if len(start) != states:
        raise RuntimeError("lstm expects two hidden states")
    network = _Network(step, biases, layers, dropout, train, 2 if bidirectional else 1)
    if packed:
        _check(x, sizes[0] if sizes else 0, start, network, 2)
        return _layers(x, sizes, start, params, network)
    turned = form[8] if form[8] is not None else False
    x = ops.transpose(x, 0, 1) if turned else x
    _check(x, x.shape[1] if x.ndim > 1 else 0, start, network, 3)
    output, *ends = _layers(x, None, start, params, network)
    return (ops.transpose(output, 0, 1) if turned else output, *ends)


_PACKED = ("data", "batch_sizes", "hx", "params", "has_biases", "num_layers", "dropout", "train",
           "bidirectional")


def _front(call: Callable, *args: Any, **kwargs: Any) -> Any:
    """A call of the packed form by name is brought into order."""
    if "data" in kwargs or "batch_sizes" in kwargs:
        rest = _PACKED[len(args):]
        if set(rest) != set(kwargs):
            raise TypeError(f"expected the arguments {', '.join(_PACKED)}")
        return call(*args, *(kwargs[name] for name in rest))
    return call(*args, **kwargs)


@composite(method=False, random=True, front=_front)
def lstm(input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
         batch_first=None):
    """Long short-term memory: the outputs, the last hidden state, the last cell state.

    Of packed sequences: `lstm(data, batch_sizes, hx, params, …)`, without batch_first."""
    return _run(_lstm_step, 2, (input, hx, params, has_biases, num_layers, dropout, train,
                                bidirectional, batch_first))


@composite(method=False, random=True, front=_front)
def gru(input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
        batch_first=None):
    """Gated recurrent units: the outputs, and the last hidden state.

    Of packed sequences: `gru(data, batch_sizes, hx, params, …)`, without batch_first."""
    return _run(_gru_step, 1, (input, hx, params, has_biases, num_layers, dropout, train,
                               bidirectional, batch_first))


@composite(method=False, random=True, front=_front)
def rnn_tanh(input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
             batch_first=None):
    """Elman's network with tanh: the outputs, and the last hidden state.

    Of packed sequences: `rnn_tanh(data, batch_sizes, hx, params, …)`, without batch_first."""
    return _run(_rnn_step("tanh"), 1, (input, hx, params, has_biases, num_layers, dropout, train,
                                       bidirectional, batch_first))


@composite(method=False, random=True, front=_front)
def rnn_relu(input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
             batch_first=None):
    """Elman's network with relu: the outputs, and the last hidden state.

    Of packed sequences: `rnn_relu(data, batch_sizes, hx, params, …)`, without batch_first."""
    return _run(_rnn_step("relu"), 1, (input, hx, params, has_biases, num_layers, dropout, train,
                                       bidirectional, batch_first))


# Steps as operators


def _cell(step: Callable, input: Any, states: tuple, w_ih: Any, w_hh: Any, b_ih: Any,
          b_hh: Any) -> tuple:
    for state in states:
        if state.ndim != input.ndim or state.shape[:-1] != input.shape[:-1]:
            raise RuntimeError(f"Input batch size {list(input.shape[:-1])} doesn't match hidden "
                               f"batch size {list(state.shape[:-1])}")
        if state.shape[-1] != w_hh.shape[1]:
            raise RuntimeError(f"hidden has inconsistent hidden_size: got {state.shape[-1]}, "
                               f"expected {w_hh.shape[1]}")
    if input.shape[-1] != w_ih.shape[1]:
        raise RuntimeError(f"input has inconsistent input_size: got {input.shape[-1]}, expected "
                           f"{w_ih.shape[1]}")
    return step(ops.linear(input, w_ih, b_ih), states, w_hh, b_hh)


@composite(method=False)
def lstm_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of `lstm`: the hidden state and the cell state."""
    if len(hx) != 2:
        raise RuntimeError("lstm_cell expects two hidden states")
    return _cell(_lstm_step, input, tuple(hx), w_ih, w_hh, b_ih, b_hh)


@composite(method=False)
def gru_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of `gru`: the hidden state."""
    return _cell(_gru_step, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


@composite(method=False)
def rnn_tanh_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of `rnn_tanh`: the hidden state."""
    return _cell(_rnn_step("tanh"), input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


@composite(method=False)
def rnn_relu_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of `rnn_relu`: the hidden state."""
    return _cell(_rnn_step("relu"), input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


# Sequences of different lengths


def _check_lengths(counts: list, batch: Any) -> None:
    if len(counts) != batch:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got "
                           f"{len(counts)} (batch_size={batch})")
    if any(a < b for a, b in zip(counts, counts[1:])):
        raise RuntimeError("`lengths` array must be sorted in decreasing order when "
                           "`enforce_sorted` is True. You can pass `enforce_sorted=False` to "
                           "pack_padded_sequence and/or pack_sequence to sidestep this "
                           "requirement if you do not need ONNX exportability.")
    if counts and counts[-1] <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element "
                           "in 'lengths' that is <= 0")


@composite(method=False)
def _pack_padded_sequence(input, lengths, batch_first):
    """The steps of padded sequences, the longest first, and how many sequences have each step."""
    input = ops.transpose(input, 0, 1) if batch_first else input
    if lengths.ndim != 1:
        raise RuntimeError(f"'lengths' argument should be a 1D CPU int64 tensor, but got "
                           f"{lengths.ndim}D {lengths.device} {lengths.dtype} tensor")
    counts = lengths.tolist()
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    _check_lengths(counts, input.shape[1])
    sizes = [sum(count > step for count in counts) for step in range(counts[0])]
    if len(sizes) > input.shape[0]:
        raise RuntimeError(f"Expected lengths of at most {input.shape[0]}, the number of steps of "
                           f"the input, but got {counts[0]}")
    data = ops.cat([input[step, :size] for step, size in enumerate(sizes)], 0)
    return data, tensor(sizes)


@composite(method=False)
def _pad_packed_sequence(data, batch_sizes, batch_first, padding_value, total_length):
    """Packed steps as padded sequences, and their lengths; a total length of 0 or less means the
    longest one's."""
    sizes = batch_sizes.tolist()
    if total_length > 0 and total_length < len(sizes):
        raise RuntimeError("Expected total_length to be at least the length of the longest "
                           f"sequence in input, but got total_length={total_length} and max "
                           f"sequence length being {len(sizes)}")
    batch, rows = sizes[0], []
    for step in ops.split(data, sizes, 0):
        missing = batch - step.shape[0]
        widths = (0, 0) * (step.ndim - 1) + (0, missing)
        rows.append(ops.constant_pad_nd(step, widths, padding_value) if missing else step)
    padded = ops.stack(rows, 0)
    if total_length > len(sizes):
        widths = (0, 0) * (padded.ndim - 1) + (0, total_length - len(sizes))
        padded = ops.constant_pad_nd(padded, widths, padding_value)
    lengths = tensor([sum(size > i for size in sizes) for i in range(batch)])
    return (ops.transpose(padded, 0, 1) if batch_first else padded), lengths
