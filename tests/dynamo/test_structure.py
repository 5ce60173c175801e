"""Guards that memory vouches for: what a user changes in a model after compilation is seen, whichever way it is changed, and what nobody
changed is not looked at again.
"""

import collections
import gc
import threading
import warnings
import weakref

import numpy as np
import pytest

import flambeau as torch
from dynamo import frame as frames
from dynamo import structure as structures
from dynamo.evaluator import load
from flambeau import nn

WATCHES = load()[0] is not None and load()[0].watch is not None


@pytest.fixture(autouse=True)
def fresh():
    frames.reset()
    yield
    frames.reset()


class Settings:
    def __init__(self):
        self.power = 2


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 3)
        self.activation = nn.ReLU()
        self.scale = 2.0

    def forward(self, x):
        return self.activation(self.line(x)) * self.scale


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("shift", torch.ones(3))
        self.powers = [1, 2]
        self.table = {"bias": 0.5}
        self.settings = Settings()
        self.offset = torch.full((3,), 0.25)

    def forward(self, x):
        for block, power in zip(self.blocks, self.powers):
            x = block(x) ** power
        x = self.norm(x) + self.shift * self.table["bias"] + self.offset
        return x ** self.settings.power


class Doubling(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


def model():
    torch.manual_seed(3)
    return Model()


X = torch.tensor(np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3))


def replace_data(m):
    m.blocks[0].line.weight.data = torch.eye(3)


def replace_data_of_another_type(m):
    m.shift.data = torch.full((3,), 2.0, dtype=torch.float64)


def replace_data_of_another_shape(m):
    m.shift.data = torch.full((1, 3), 2.0)


def assign_parameter(m):
    m.blocks[1].line.weight = nn.Parameter(torch.eye(3))


def write_into_the_parameters(m):
    m.blocks[1].line._parameters["weight"] = nn.Parameter(torch.eye(3) * 2)


def drop_the_bias(m):
    m.blocks[0].line.bias = None


def delete_and_register(m):
    del m.blocks[0].line.bias
    m.blocks[0].line.register_parameter("bias", None)


def replace_activation(m):
    m.blocks[0].activation = nn.Tanh()


def evaluate(m):
    m.eval()


def freeze(m):
    for parameter in m.parameters():
        parameter.requires_grad_(False)


def freeze_one(m):
    m.blocks[0].line.weight.requires_grad = False


def set_number(m):
    m.blocks[1].scale = 3.0


def set_number_in_the_dictionary(m):
    vars(m.blocks[1])["scale"] = 4.0


def set_item_of_list(m):
    m.powers[0] = 3


def set_item_of_dictionary(m):
    m.table["bias"] = 7.0


def replace_dictionary(m):
    m.table = {"bias": 9.0}


def set_field_of_object(m):
    m.settings.power = 1


def replace_object(m):
    m.settings = Settings()
    m.settings.power = 3


def to_double(m):
    m.norm.double()


def change_class(m):
    m.blocks[0].line.__class__ = Doubling


def hook(m):
    m.blocks[1].register_forward_hook(lambda module, args, out: out + 1)


def pre_hook(m):
    m.blocks[1].line.register_forward_pre_hook(lambda module, args: (args[0] + 1,))


def swap_submodules(m):
    m.blocks[0].line, m.blocks[1].line = m.blocks[1].line, m.blocks[0].line


def tie(m):
    m.blocks[0].line.weight = m.blocks[1].line.weight


def replace_block(m):
    m.blocks[1] = Block()


def append_block(m):
    m.blocks.append(Block())
    m.powers.append(1)


def replace_attributes(m):
    block = m.blocks[0]
    block.__dict__ = {**block.__dict__, "scale": 5.0}


def assign_buffer(m):
    m.shift = torch.full((3,), 3.0)


def assign_tensor(m):
    m.offset = torch.full((4, 3), 3.0)


def stride_in_place(m):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        m.offset._array.strides = (0,)


CHANGES = (
    replace_data, replace_data_of_another_type, replace_data_of_another_shape, assign_parameter,
    write_into_the_parameters, drop_the_bias, delete_and_register, replace_activation, evaluate,
    freeze, freeze_one, set_number, set_number_in_the_dictionary, set_item_of_list,
    set_item_of_dictionary, replace_dictionary, set_field_of_object, replace_object, to_double,
    change_class, hook, pre_hook, swap_submodules, tie, replace_block, append_block,
    replace_attributes, assign_buffer, assign_tensor, stride_in_place,
)  # fmt: skip


def run(call, m):
    """What a call gives and leaves behind, with the gradients."""
    m.zero_grad()
    x = X.clone().requires_grad_()
    out = call(x)
    if out.requires_grad:
        out.sum().backward()
    grads = [None if p.grad is None else p.grad.numpy().copy() for p in m.parameters()]
    state = [b.numpy().copy() for b in m.buffers()]
    return out.dtype, out.requires_grad, out.detach().numpy(), x.grad.numpy(), *grads, *state


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        if isinstance(b, np.ndarray):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
        else:
            assert a is b or a == b


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_is_seen(change):
    plain, watched = model(), model()
    compiled = torch.compile(watched, backend="eager")
    for _ in range(4):
        assert_same(run(compiled, watched), run(plain, plain))
    for m in (plain, watched):
        torch.manual_seed(5)
        change(m)
    for _ in range(3):
        assert_same(run(compiled, watched), run(plain, plain))


def captured():
    return [frame for log in frames.logs() for _, frame in log.captured]


@pytest.mark.skipif(not WATCHES, reason="this interpreter is not watched")
def test_what_did_not_change_is_not_looked_at():
    m = model().eval()
    compiled = torch.compile(m, backend="eager")
    compiled(X)
    compiled(X)
    (structure,) = captured()[0].guards.structures.values()
    looked = []
    structure.holds = lambda root: looked.append(root) or True
    for _ in range(5):
        compiled(X)
    assert looked == []
    m.extra = 1  # of no concern, but a change of the model
    compiled(X)
    assert len(looked) == 2  # before and after a new table is made
    compiled(X)
    assert len(looked) == 2


@pytest.mark.skipif(not WATCHES, reason="this interpreter is not watched")
def test_a_model_that_changes_at_every_call_is_seldom_watched(monkeypatch):
    class Counting(Model):
        def forward(self, x):
            self.calls = getattr(self, "calls", 0)
            return super().forward(x)

    m = Counting()
    compiled = torch.compile(m, backend="eager")
    compiled(X)
    made = []
    proof = structures.Proof.table
    monkeypatch.setattr(structures.Proof, "table", lambda *a: made.append(1) or proof(*a))
    for i in range(40):
        m.unrelated = i
        compiled(X)
    assert 0 < len(made) < 10


def test_gradients_and_optimizers_do_not_change_the_model():
    m = model()
    compiled = torch.compile(m, backend="eager")
    optimizer = torch.optim.SGD(m.parameters(), lr=0.1)
    for _ in range(3):
        run(compiled, m)
        optimizer.step()
    frame = captured()[0]
    assert len(captured()) == 1
    if WATCHES:
        (structure,) = frame.guards.structures.values()
        looked = []
        structure.holds = lambda root: looked.append(root) or True
        run(compiled, m)
        optimizer.step()
        run(compiled, m)
        assert looked == []


@pytest.mark.skipif(not WATCHES, reason="this interpreter is not watched")
def test_gradients_of_many_parameters_do_not_change_the_model():
    """CPython gives instances of a class no room for fields first set after some thirty of them were made."""

    class Own(nn.Parameter):
        pass

    many = [Own(torch.ones(3)) for _ in range(64)]
    m = model()
    m.norm.weight = many[-1]
    compiled = torch.compile(m, backend="eager")
    for _ in range(3):
        run(compiled, m)
    (structure,) = captured()[0].guards.structures.values()
    looked = []
    structure.holds = lambda root: looked.append(root) or True
    run(compiled, m)
    assert many[-1].grad is not None and looked == []


def test_models_come_and_go():
    def call(m, x):
        return m(x)

    compiled = torch.compile(call, backend="eager")
    for i in range(12):
        m = model().eval()
        m.blocks[0].scale = float(i % 3)
        m.table["bias"] = float(i % 2)
        for _ in range(3):
            np.testing.assert_allclose(compiled(m, X).detach(), m(X).detach(), rtol=1e-6)
        reference = weakref.ref(m)
        del m
        gc.collect()
        assert reference() is None


def test_an_argument_must_stay_apart_from_the_parameters():
    class Writing(nn.Module):
        def __init__(self):
            super().__init__()
            for name in "abcdefg":
                self.register_buffer(name, torch.ones(3))

        def forward(self, x):
            for name in "abcdefg":
                getattr(self, name).add_(x)
            return self.a + self.g

    m, plain = Writing(), Writing()
    compiled = torch.compile(m, backend="eager")
    for _ in range(3):
        assert compiled(torch.ones(3)).tolist() == plain(torch.ones(3)).tolist()
    assert compiled(m.c).tolist() == plain(plain.c).tolist()
    assert [b.tolist() for b in m.buffers()] == [b.tolist() for b in plain.buffers()]


def test_threads_change_and_call():
    m = model().eval()
    compiled = torch.compile(m, backend="eager")
    with torch.no_grad():
        expected = {}
        for scale in (1.0, 2.0):
            m.blocks[0].scale = scale
            expected[scale] = m(X).numpy()
            compiled(X)
    wrong = []

    def call():
        with torch.no_grad():
            for _ in range(200):
                found = compiled(X).numpy()
                if not any(np.allclose(found, value) for value in expected.values()):
                    wrong.append(found)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(300):
        m.blocks[0].scale = 1.0 + i % 2
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_list_of_tensors_as_an_argument():
    def total(parts):
        out = parts[0]
        for part in parts[1:]:
            out = out + part
        return out

    compiled = torch.compile(total, backend="eager")
    parts = [torch.full((2,), float(i)) for i in range(8)]
    for _ in range(3):
        assert compiled(parts).tolist() == [28.0, 28.0]
    parts[3] = torch.full((2,), 10.0)
    assert compiled(parts).tolist() == [35.0, 35.0]
    parts[3] = torch.full((2, 2), 10.0)
    assert compiled(parts).shape == (2, 2)


@pytest.mark.skipif(not WATCHES, reason="this interpreter is not watched")
def test_ordered_dictionaries_have_versions():
    table = collections.OrderedDict(a=1)
    before = structures._word(id(table) + 24)
    table.move_to_end("a")
    table["b"] = 2
    assert structures._word(id(table) + 24) != before


def test_a_view_as_a_buffer_keeps_its_guard():
    class Slicing(nn.Module):
        def __init__(self):
            super().__init__()
            for name in "abcdef":
                self.register_buffer(name, torch.ones(2))
            self.base = torch.ones(4)
            self.part = self.base[:2]

        def forward(self, x):
            for name in "abcdef":
                x = x + getattr(self, name)
            return x * self.part

    m = Slicing()
    compiled = torch.compile(m, backend="eager")
    for _ in range(3):
        assert not compiled(torch.ones(2)).requires_grad
    m.base.requires_grad_()
    assert compiled(torch.ones(2)).requires_grad == m(torch.ones(2)).requires_grad is True
