"""Recording: gives the results of operator calls their nodes.

It is in the way of every forward pass, so that what calls have in common is written out for each form: elementwise
ones of one and two operands, views, and all others.
"""

from __future__ import annotations

from typing import Any

from eager import dtype as dtypes
from eager.node import LIKE_RESULT, OpNode, SavedOutput, anomaly, count, keeping, node_of, trace
from eager.packing import packed_in
from eager.tensor import PLAIN, Tensor

_FLOATS = frozenset(d.numpy.num for d in dtypes._BY_NAME.values() if d.category >= dtypes.FLOATING)
_new = object.__new__


def record(op: Any, bound: tuple, result: Any) -> Any:
    """Give a result its history; some argument requires a gradient, and recording is on."""
    if type(result) is tuple:
        node = OpNode(op, bound)
        node.set_outputs(result)
        for number, tensor in enumerate(result):
            if tensor.dtype.category >= dtypes.FLOATING:
                tensor._node, tensor._output_nr, tensor._requires_grad = node, number, True
        if packed_in[0]:
            node.pack()
        return result
    if type(result) is not Tensor:
        if result.dtype.category >= dtypes.FLOATING:
            node = OpNode(op, bound)
            node.set_output(result)
            result._node, result._requires_grad = node, True
            if packed_in[0]:
                node.pack()
        return result
    if result._array.dtype.num in _FLOATS:
        node = OpNode(op, bound)
        node.set_output(result)
        if packed_in[0]:
            node.pack()
        result._node, result._requires_grad = node, True
    return result


def record_call(op: Any, bound: tuple, wanted: int, result: Tensor) -> Tensor:
    """`record` of a call without lists of tensors; `wanted` says by bits which arguments require a gradient."""
    if result._array.dtype.num not in _FLOATS:
        return result
    node = _new(OpNode)
    node.op, node.sequence = op, count()
    if anomaly[0]:
        node.traceback = trace()
    keeps = op.keeps.get(wanted) or keeping(op, wanted)
    parameters = keeps.parameters
    edges: list = []
    versions: list[int] = []
    node.saved = saved = [*bound]
    i, some = 0, False
    for value in bound:
        if isinstance(value, Tensor):
            base = value._base
            if wanted >> i & 1:
                before = value._node if base is None else node_of(value)
                edges.append(value if before is None else (before, value._output_nr))
            else:
                edges.append(None)
            if parameters[i]:
                some = True
                storage = (value if base is None else base)._storage
                versions.append(0 if storage is None else storage.version)
            else:
                saved[i] = value._spec()
                versions.append(0)
        i += 1
    node._edges = edges
    if some:
        node.versions = versions
    if keeps.out:
        node.out = (SavedOutput(result, 0),)
    if packed_in[0]:
        node.pack()
    result._node, result._requires_grad = node, True
    return result


def record_list(op: Any, bound: tuple, place: int, result: Tensor) -> Tensor:
    """`record` of a call whose only tensors are in the list that is the argument `place`, and whose derivative reads
    no values."""
    if result._array.dtype.num not in _FLOATS:
        return result
    node = _new(OpNode)
    node.op, node.sequence = op, count()
    if anomaly[0]:
        node.traceback = trace()
    edges: list = []
    for value in bound[place]:
        base = value._base
        if value._requires_grad or (base is not None and base._requires_grad):
            before = value._node if base is None else node_of(value)
            edges.append(value if before is None else (before, value._output_nr))
        else:
            edges.append(None)
    node._edges = edges
    node.saved = (*bound[:place], [value._spec() for value in bound[place]], *bound[place + 1 :])
    result._node, result._requires_grad = node, True
    return result


def record_unary(op: Any, bound: tuple, result: Tensor) -> Tensor:
    """`record` of an elementwise call where the first argument, which requires a gradient, is the only tensor and has
    the type of the result."""
    node = _new(OpNode)
    node.op, node.sequence = op, count()
    if anomaly[0]:
        node.traceback = trace()
    value = bound[0]
    base = value._base
    before = value._node if base is None else node_of(value)
    node._edges = [value if before is None else (before, value._output_nr)]
    keeps = op.keeps.get(1) or keeping(op, 1)
    if keeps.parameters[0]:
        storage = (value if base is None else base)._storage
        node.saved, node.versions = bound, [0 if storage is None else storage.version]
    else:
        node.saved = (LIKE_RESULT, *bound[1:])
    if keeps.out:
        node.out = (SavedOutput(result, 0),)
    if packed_in[0]:
        node.pack()
    result._node, result._requires_grad = node, True
    return result


def record_binary(op: Any, bound: tuple, result: Tensor) -> Tensor:
    """`record` of an elementwise call where the first two arguments are numbers and tensors of the type of the result,
    and no other is a tensor."""
    node = _new(OpNode)
    node.op, node.sequence = op, count()
    if anomaly[0]:
        node.traceback = trace()
    first, second = bound[0], bound[1]
    edges: list = []
    wanted = 0
    if isinstance(first, Tensor):
        base = first._base
        if first._requires_grad or (base is not None and base._requires_grad):
            before = first._node if base is None else node_of(first)
            edges.append(first if before is None else (before, first._output_nr))
            wanted = 1
        else:
            edges.append(None)
    if isinstance(second, Tensor):
        base = second._base
        if second._requires_grad or (base is not None and base._requires_grad):
            before = second._node if base is None else node_of(second)
            edges.append(second if before is None else (before, second._output_nr))
            wanted += 2
        else:
            edges.append(None)
    node._edges = edges
    keeps = op.keeps.get(wanted) or keeping(op, wanted)
    parameters = keeps.parameters
    if parameters[0] or parameters[1]:
        node.versions = [
            _version(value) if kept else 0
            for value, kept in zip((first, second), parameters) if isinstance(value, Tensor)
        ]
    shape = result._array.shape
    if not parameters[0] and isinstance(first, Tensor):
        first = LIKE_RESULT if first._array.shape == shape else first._spec()
    if not parameters[1] and isinstance(second, Tensor):
        second = LIKE_RESULT if second._array.shape == shape else second._spec()
    node.saved = (first, second, *bound[2:])
    if keeps.out:
        node.out = (SavedOutput(result, 0),)
    if packed_in[0]:
        node.pack()
    result._node, result._requires_grad = node, True
    return result


def _version(tensor: Tensor) -> int:
    storage = (tensor if tensor._base is None else tensor._base)._storage
    return 0 if storage is None else storage.version


def record_view(op: Any, bound: tuple, result: Tensor) -> Tensor:
    """Give a view its history; its base requires a gradient, and recording is on."""
    source = bound[0]
    if type(source) not in PLAIN or type(result) is not Tensor:
        return _record_fake_view(op, bound, result)
    node = _new(OpNode)
    node.op, node.sequence = op, count()
    if anomaly[0]:
        node.traceback = trace()
    before = source._node if source._base is None else node_of(source)
    node._edges = [source if before is None else (before, source._output_nr)]
    node.saved = (source._spec(), *bound[1:])
    result._node, result._requires_grad = node, True
    base = result._base
    result._seen = base._node if base is not None else None
    return result


def _record_fake_view(op: Any, bound: tuple, result: Tensor) -> Tensor:
    node = OpNode(op, bound)
    node.set_output(result)
    result._node, result._requires_grad = node, True
    base = result._base
    result._seen = base._node if base is not None else None
    return result
