"""torch.testing: tensors that are close, and tensors to test with.

comparison.py   assert_close
creation.py     make_tensor
"""

from flambeau.missing import lookup
from flambeau.testing.comparison import assert_allclose, assert_close
from flambeau.testing.creation import make_tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]

__getattr__ = lookup(__name__)
