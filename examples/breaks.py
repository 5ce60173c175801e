"""What cannot be captured stays Python: a model that prints, branches on a value, and calls a C library runs compiled with the same
results and side effects, and `explain` says where capture stopped and why.

    python examples/breaks.py
"""

import zlib

import flambeau as torch
from flambeau import nn


class Talkative(nn.Module):
    """A model as people write them while they look for a mistake."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 2)
        self.checksums = []

    def forward(self, x):
        h = torch.relu(self.first(x))
        print("mean activation is positive:", h.mean().item() > 0)
        if h.sum().item() > 1.0:
            h = h / h.sum()
        self.checksums.append(zlib.crc32(b"a call into a C library"))
        return self.second(h)


def main():
    torch.manual_seed(0)
    model = Talkative()
    x = torch.randn(3, 4)
    eager = model(x)
    compiled = torch.compile(model)(x)
    print("largest difference:", (eager - compiled).abs().max().item())
    print("checksums noted:", len(model.checksums))
    print(torch.explain(model)(x))


if __name__ == "__main__":
    main()
