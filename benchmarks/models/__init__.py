"""Models to measure. Each file is ordinary source that says `import torch`, and is loaded twice: on flambeau and on torch.

mlp.py      four layers of 256, batch 8: small work, where overhead shows
lenet.py    two convolutions and three layers, on scikit-learn's digits
dlrm.py     bags of categories and dense features, their products, two perceptrons
lstm.py     a language model of two LSTM layers
dcgan.py    a generator of images by transposed convolutions
unet.py     a U-Net on 128x128
r3d.py      R3D-18 on videos of 8 frames of 112x112
minilm.py   BERT with 6 layers of 384, the weights of all-MiniLM-L6-v2, on 100 sentences
image.py    timm's source, 224x224: ResNet, MobileNetV3, EfficientNet, ConvNeXt, ViT
bert.py     BERT-base, transformers' source, 128 tokens
gpt2.py     12 layers of 768, 124 M parameters, 128 tokens

A file has `build() -> Module`, `inputs(batch) -> tuple of NumPy arrays`, `loss(output, *inputs) -> scalar`, and `BATCH`, the batch sizes of
inference and training. A file of several models has `build(name)`; `benchmarks.case.SOURCES` says which names are its.
"""
