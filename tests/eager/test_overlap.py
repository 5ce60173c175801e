"""Nothing writes into a tensor of which several elements share one place in memory."""

import pytest

from eager.construct import tensor
from eager.op import ops

WRITES = {
    "add_number": lambda x: x.add_(1),
    "add_tensor": lambda x: x.add_(ops.ones(6)),
    "symbol": lambda x: x.__imul__(2.0),
    "unary": lambda x: x.exp_(),
    "composite": lambda x: x.logit_(),
    "copy": lambda x: x.copy_(ops.ones(6)),
    "fill": lambda x: x.fill_(2.0),
    "random": lambda x: x.uniform_(),
    "out": lambda x: ops.add(ops.ones(6), 1, out=x),
}


@pytest.mark.parametrize("name", WRITES)
def test_expanded_tensors_are_not_written(name):
    base = tensor([0.25])
    with pytest.raises(RuntimeError, match="refers to a single memory location"):
        WRITES[name](base.expand(6))
    assert base.tolist() == [0.25]


@pytest.mark.parametrize("name", WRITES)
def test_clones_of_expanded_tensors_are_written(name):
    WRITES[name](tensor([0.25]).expand(6).clone(memory_format="torch.contiguous_format"))
