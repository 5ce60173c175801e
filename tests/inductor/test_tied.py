"""A weight that is an embedding and a product's factor: its gradient is one matrix, added to in place."""

import numpy as np
import pytest

import flambeau
from inductor import compile as inductor_compile

ROWS = 50


def make(torch, padding, tied, twice):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(ROWS, 16, padding_idx=padding)
            self.head = torch.nn.Linear(16, ROWS, bias=False)
            if tied:
                self.head.weight = self.table.weight

        def forward(self, tokens):
            x = torch.tanh(self.table(tokens))
            if twice:
                x = torch.tanh(self.table(tokens.flip(1))) * x
            logits = self.head(x)
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())

    return Model()


@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("tied, twice", [(True, False), (True, True), (False, False)])
def test_gradients_are_torchs(padding, tied, twice):
    torch = pytest.importorskip("torch")
    theirs, ours = make(torch, padding, tied, twice), make(flambeau, padding, tied, twice)
    ours.load_state_dict({
        name: flambeau.from_numpy(value.detach().numpy().copy())
        for name, value in theirs.state_dict().items()
    })
    tokens = np.random.default_rng(0).integers(0, ROWS, (4, 9))
    theirs(torch.from_numpy(tokens)).backward()
    compiled = flambeau.compile(ours)
    for _ in range(2):  # the second call finds the memory of the first
        ours.zero_grad()
        compiled(flambeau.from_numpy(tokens)).backward()
        for mine, peer in zip(ours.parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(mine.grad.numpy(), peer.grad.numpy(), atol=2e-7)


def test_no_second_matrix(monkeypatch):
    seen = []
    stage = inductor_compile.STAGES["lower"]

    def lower(c):
        stage(c)
        seen.append(c.lowered.operations)

    monkeypatch.setitem(inductor_compile.STAGES, "lower", lower)
    flambeau.manual_seed(0)
    model = make(flambeau, None, True, False)
    flambeau.compile(model)(flambeau.zeros(2, 4, dtype=flambeau.int64)).backward()
    targets = [getattr(o, "target", None) or o.outputs[0] for o in seen[-1]]
    large = [b for b in dict.fromkeys(targets) if b.shape == (ROWS, 16)]
    assert len(large) == 1
