"""What else runs a model, in the same run and with the same weights, inputs and threads.

peer.py         what a peer is: it prepares a call, or says why it cannot
export.py       a model of torch as an ONNX file
onnxruntime.py  ONNX Runtime, on that file
openvino.py     OpenVINO, on that file
jax.py          JAX: the perceptron and the GPT, written for it

torch is a peer too, but a whole library like flambeau: see `benchmarks.case`.
"""
