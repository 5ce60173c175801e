"""torch.onnx.symbolic_opset11: for an exporter to come."""

from flambeau.missing import lookup

__getattr__ = lookup(__name__)
