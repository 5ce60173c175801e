"""Models to measure. Each file is ordinary source that says `import torch`, and is loaded twice: on flambeau and on torch.

mlp.py       four layers of 256, batch 8: small work, where overhead shows
lenet.py     two convolutions and three layers, on scikit-learn's digits
minilm.py    BERT with 6 layers of 384, the weights of all-MiniLM-L6-v2, on 100 sentences
resnet18.py  timm's source, 224x224
gpt2.py      12 layers of 768, 124 M parameters, 128 tokens

A file has `build() -> Module`, `inputs(batch) -> tuple of NumPy arrays`, `loss(output, *inputs) -> scalar`, and `BATCH`, the batch sizes of
inference and training.
"""
