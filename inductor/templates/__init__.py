"""Kernels written as LLVM IR.

emit         loops, addresses and vectors over llvmlite's builder
lanes        the text of generated kernels, interpreted by vectors
template     what a template hands over, and where its machine code comes from
finish       epilogues: what becomes of a result while it is in the first cache level
tile         which part of a product is kept in registers
problem      a matrix product, as its kernel must know it
gemm         matrix products
attention    attention in one pass
backward     its gradients, from weights that are made again
panels       weights packed once for many products
image        an image as a convolution reads it
convolution  convolutions as implicit matrix products
depthwise    convolutions with one channel per group
frame        what a kernel for images with their channels last computes
packing      weights and images in the order in which such a kernel reads them
direct       convolutions of images with their channels last
channelwise  depthwise convolutions of such images
winograd     convolutions by 3x3 of such images, with fewer multiplications
outer        gradients of convolutions of such images by their weights
components   the same by 3x3, with fewer multiplications
"""
