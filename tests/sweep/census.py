"""The census: what 164 models of the Hugging Face, timm and TorchBench lists call at torch's level, forward and backward. `absent()` says
which of these names flambeau lacks.
"""

from __future__ import annotations

NAMES = """
torch.Tensor.T.__get__ torch.Tensor.__and__ torch.Tensor.__bool__ torch.Tensor.__contains__ torch.Tensor.__eq__
torch.Tensor.__float__ torch.Tensor.__getitem__ torch.Tensor.__int__ torch.Tensor.__invert__ torch.Tensor.__len__
torch.Tensor.__or__ torch.Tensor.__pow__ torch.Tensor.__rpow__ torch.Tensor.__rsub__ torch.Tensor.__rtruediv__
torch.Tensor.__setitem__ torch.Tensor.add torch.Tensor.add_ torch.Tensor.any torch.Tensor.argmax
torch.Tensor.as_strided torch.Tensor.bernoulli_ torch.Tensor.bool torch.Tensor.byte torch.Tensor.chunk
torch.Tensor.clamp torch.Tensor.clone torch.Tensor.contiguous torch.Tensor.copy_ torch.Tensor.cos torch.Tensor.cpu
torch.Tensor.data.__get__ torch.Tensor.detach torch.Tensor.device.__get__ torch.Tensor.dim torch.Tensor.div
torch.Tensor.div_ torch.Tensor.dtype.__get__ torch.Tensor.eq torch.Tensor.exp torch.Tensor.expand
torch.Tensor.expand_as torch.Tensor.fill_ torch.Tensor.flatten torch.Tensor.flip torch.Tensor.float
torch.Tensor.gather torch.Tensor.ge torch.Tensor.gt torch.Tensor.index_add_ torch.Tensor.index_select
torch.Tensor.int torch.Tensor.is_cuda.__get__ torch.Tensor.is_floating_point torch.Tensor.is_quantized.__get__
torch.Tensor.item torch.Tensor.le torch.Tensor.log2 torch.Tensor.log_softmax torch.Tensor.long torch.Tensor.lt
torch.Tensor.masked_fill torch.Tensor.masked_fill_ torch.Tensor.matmul torch.Tensor.max torch.Tensor.mean
torch.Tensor.mul torch.Tensor.mul_ torch.Tensor.ndim.__get__ torch.Tensor.ne torch.Tensor.neg torch.Tensor.new
torch.Tensor.new_empty torch.Tensor.new_full torch.Tensor.new_ones torch.Tensor.new_zeros torch.Tensor.numel
torch.Tensor.numpy torch.Tensor.permute torch.Tensor.pow torch.Tensor.real.__get__ torch.Tensor.remainder
torch.Tensor.repeat torch.Tensor.repeat_interleave torch.Tensor.reshape torch.Tensor.reshape_as torch.Tensor.round
torch.Tensor.scatter_ torch.Tensor.shape.__get__ torch.Tensor.sigmoid torch.Tensor.sin torch.Tensor.size
torch.Tensor.softmax torch.Tensor.split torch.Tensor.squeeze torch.Tensor.std torch.Tensor.stride torch.Tensor.sub
torch.Tensor.sum torch.Tensor.t torch.Tensor.to torch.Tensor.topk torch.Tensor.transpose torch.Tensor.tril
torch.Tensor.type torch.Tensor.type_as torch.Tensor.unbind torch.Tensor.unfold torch.Tensor.uniform_
torch.Tensor.unsqueeze torch.Tensor.unsqueeze_ torch.Tensor.view torch.Tensor.where torch.Tensor.zero_
torch._C._set_grad_enabled torch._VariableFunctionsClass._is_all_true
torch._VariableFunctionsClass._pack_padded_sequence torch._VariableFunctionsClass._pad_packed_sequence torch._assert
torch.abs torch.addcmul torch.addmm torch.all torch.arange torch.argmax torch.argsort torch.as_tensor torch.bmm
torch.cat torch.chunk torch.clamp torch.clone torch.cos torch.cumsum torch.div torch.empty torch.empty_like torch.exp
torch.fft.fftn torch.flatten torch.floor torch.full torch.full_like torch.functional.broadcast_tensors
torch.functional.einsum torch.functional.meshgrid torch.functional.split torch.gather torch.index_select
torch.linspace torch.log torch.log2 torch.logical_not torch.logsumexp torch.lstm torch.lstm_cell torch.masked_fill
torch.matmul torch.max torch.maximum torch.mean torch.min torch.minimum torch.multiply torch.ne
torch.nn.functional.adaptive_avg_pool2d torch.nn.functional.avg_pool2d torch.nn.functional.batch_norm
torch.nn.functional.binary_cross_entropy_with_logits torch.nn.functional.conv1d torch.nn.functional.conv2d
torch.nn.functional.conv_transpose1d torch.nn.functional.conv_transpose2d torch.nn.functional.cross_entropy
torch.nn.functional.dropout torch.nn.functional.dropout2d torch.nn.functional.embedding
torch.nn.functional.embedding_bag torch.nn.functional.fold torch.nn.functional.gelu torch.nn.functional.glu
torch.nn.functional.grid_sample torch.nn.functional.group_norm torch.nn.functional.hardsigmoid
torch.nn.functional.hardswish torch.nn.functional.hardtanh torch.nn.functional.instance_norm
torch.nn.functional.interpolate torch.nn.functional.l1_loss torch.nn.functional.layer_norm
torch.nn.functional.leaky_relu torch.nn.functional.linear torch.nn.functional.log_softmax
torch.nn.functional.max_pool2d torch.nn.functional.mse_loss torch.nn.functional.normalize torch.nn.functional.one_hot
torch.nn.functional.pad torch.nn.functional.relu torch.nn.functional.scaled_dot_product_attention
torch.nn.functional.selu torch.nn.functional.silu torch.nn.functional.smooth_l1_loss torch.nn.functional.softmax
torch.nn.functional.unfold torch.ones torch.ones_like torch.pow torch.rand torch.randint torch.randn torch.randperm
torch.relu torch.repeat_interleave torch.reshape torch.roll torch.rsqrt torch.sigmoid torch.sigmoid_ torch.sin
torch.softmax torch.sqrt torch.stack torch.sum torch.tanh torch.tensor torch.topk torch.transpose torch.triu
torch.where torch.zeros torch.zeros_like""".split()
# Where a name is reached that torch's own recording gives by another path.
_PATHS = {"torch._VariableFunctionsClass.": "torch.", "torch.functional.": "torch."}


def absent() -> list[str]:
    """The names of the census that flambeau does not have."""
    import flambeau
    from tests.sweep.convert import follow

    found = []
    for name in NAMES:
        path = name.removesuffix(".__get__").removesuffix(".__set__")
        for prefix, plain in _PATHS.items():
            path = path.replace(prefix, plain)
        path = path.removeprefix("torch.")
        owner, _, attribute = path.rpartition(".")
        place = follow(flambeau, owner) if owner else flambeau
        if place is None or not hasattr(place, attribute):
            found.append(name)
    return found
