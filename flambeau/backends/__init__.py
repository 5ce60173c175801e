"""torch.backends: switches that code sets and reads. None of these libraries is here, and `is_available` says so.

cudnn, cuda, mkl, mkldnn, mps, openmp, opt_einsum  one file each
"""

from flambeau.backends import cuda, cudnn, mkl, mkldnn, mps, openmp, opt_einsum
from flambeau.missing import lookup

__getattr__ = lookup(__name__)
