"""What a type checker makes of a program that imports flambeau as torch: every name resolves."""

from pathlib import Path

import pytest

import flambeau

PROGRAM = '''
import flambeau as torch
import flambeau.nn.functional as F
from flambeau import nn
from flambeau.utils.data import DataLoader, TensorDataset


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.linear(x)) * 2 - x.sum(-1, keepdim=True)


model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
x: torch.Tensor = torch.randn(3, 4)
for (batch,) in DataLoader(TensorDataset(x), batch_size=2):
    loss = nn.CrossEntropyLoss()(model(batch), torch.zeros(len(batch), dtype=torch.int64))
    loss.backward()
    optimizer.step()
with torch.no_grad():
    y = (-x @ x.T)[0] > 1
compiled = torch.compile(model, fullgraph=True)
reveal_type(1 - x)
reveal_type(x[0] == x[1])
reveal_type(x.shape)
reveal_type(optimizer)
model.forwards(x, wrong=1) + torch.float32.nonsense
'''


def test_names_resolve(tmp_path, monkeypatch):
    api = pytest.importorskip("mypy.api")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    monkeypatch.setenv("MYPYPATH", str(Path(flambeau.__file__).parents[1]))
    given = ["--follow-imports=silent", "--ignore-missing-imports"]
    output, errors, _ = api.run([*given, "--cache-dir", str(tmp_path / "cache"), str(program)])
    lines = [line.partition("program.py:")[2] for line in output.splitlines()[:-1]]
    assert not errors
    assert [line.partition(": ")[2] for line in lines] == [
        'note: Revealed type is "eager.tensor.Tensor"',
        'note: Revealed type is "eager.tensor.Tensor"',
        'note: Revealed type is "eager.shape.Size"',
        'note: Revealed type is "eager.optim.adam.AdamW"',
        'error: "dtype" has no attribute "nonsense"  [attr-defined]',
    ]
