"""Operators over a hidden batch dimension: what `torch.vmap` is made of.

    tensor       Batched: a tensor that hides its first dimension; levels of hiding
    interpreter  an interpreter of the dispatch stack: each operator on batches, by its kind
    gradients    many cotangents through one graph
    rules        operators with kernels of their own: what to do with the dimension
"""
