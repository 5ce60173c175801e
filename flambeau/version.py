"""Versions: flambeau's own, and the version of PyTorch whose API it follows.

`__version__` opens with PyTorch's number, because code that is run under the alias compares `torch.__version__` to decide which API it may
use; the local part says that it is flambeau, and which. `flambeau.version.flambeau` is flambeau's own number.
"""

flambeau = "0.1.0"
api = "2.13.0"
__version__ = f"{api}+flambeau{flambeau}"
debug = False
cuda: str | None = None
hip: str | None = None
git_version = "Unknown"
