"""torch.onnx.operators: for an exporter to come."""

from flambeau.missing import lookup

__getattr__ = lookup(__name__)
