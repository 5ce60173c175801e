"""The operators, one home each.

    pointwise      arithmetic, exponentials, trigonometry, comparison, selection
    copying        conversion, clone, detach, copy, fill
    view           other shapes over the same memory
    strided, reinterpret, copies           by strides; as another type; views as copies
    creation       zeros, arange, like another tensor; diagonals and triangles
    reduction, order, statistics, scan     sums, extrema, norms; medians; covariances; running sums
    subscript, indexing, scatter, masking  x[...]; index tensors; along a dimension; where a mask holds
    joining, splitting                     cat, stack, repeat, flip, roll; parts along a dimension
    linalg, einsum                         matrix products
    inverse, triangular, orthogonal, spectrum, norms    LAPACK: systems; Cholesky, LU, LDL; QR; SVD, eigenvalues
    special, bessel, polynomial            gamma, zeta, the normal distribution; Bessel functions; orthogonal polynomials
    sorting, histogram, random, fft, stft, windows, signal
    linear, activation, convolution, pooling, attention, embedding         what layers are made of
    masked                                 torch.masked: reductions that leave elements out
    normalization, moments                 statistics of a batch or a layer; their derivatives
    padding, dropout, interpolate, loss, ctc
    recurrent                              RNN, LSTM, GRU and their steps; sequences padded and packed
    fractional                             pooling of windows that random numbers place
    segments                               reductions over segments of a dimension
    custom                                 results that bring their own derivative
    native                                 ATen's own spellings of operators that live above
    foreach                                lists of tensors, one operator after the other
"""

import importlib
import pkgutil

# every file declares its operators when it is imported
for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")
