"""torch._dynamo: the capture floor under torch's private path.

utils.py   questions that libraries ask at import
"""

from flambeau._dynamo import utils
from flambeau.compiler import allow_in_graph, disable, explain, list_backends, reset
from flambeau.missing import lookup

__getattr__ = lookup(__name__)
