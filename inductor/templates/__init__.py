"""Kernels written as LLVM IR.

emit         loops, addresses and vectors over llvmlite's builder
lanes        the text of generated kernels, interpreted by vectors
template     what a template hands over, and where its machine code comes from
finish       epilogues: what becomes of a result while it is in the first cache level
gemm         matrix products
image        an image as a convolution reads it
convolution  convolutions as implicit matrix products
depthwise    convolutions with one channel per group
"""
