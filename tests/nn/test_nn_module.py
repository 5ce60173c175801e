"""nn.Module: registration, hooks, saving and loading, moving, printing. Where torch is installed
the printed forms and the error messages of both are compared.
"""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from eager import dtype as dtypes
from eager import nn
from eager.construct import tensor
from eager.nn import hooks
from eager.registry import ops


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Sequential(nn.ReLU(), nn.Linear(4, 2))
        self.register_buffer("count", tensor(0.0))
        self.register_buffer("scratch", tensor([1.0]), persistent=False)
        self.absent = None

    def forward(self, x, scale=1.0):
        return self.second(self.first(x)) * scale


def test_names_and_walks():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == [
        "first.weight",
        "first.bias",
        "second.1.weight",
        "second.1.bias",
    ]
    assert [n for n, _ in net.named_buffers()] == ["count", "scratch"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "second", "second.0", "second.1"]
    assert [n for n, _ in net.named_children()] == ["first", "second"]
    assert list(net.state_dict()) == [
        "count",
        "first.weight",
        "first.bias",
        "second.1.weight",
        "second.1.bias",
    ]
    assert net.get_submodule("second.1") is net.second[1]
    assert net.get_parameter("second.1.bias") is net.second[1].bias
    assert net.get_buffer("count") is net.count
    with pytest.raises(AttributeError, match="has no attribute `third`"):
        net.get_submodule("third")
    assert len(list(net.parameters())) == 4 and len(list(net.modules())) == 5


def test_shared_members_appear_once():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert len(list(net.parameters())) == 3
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4


def test_assignment_rules():
    net = Net()
    with pytest.raises(TypeError, match="cannot assign"):
        net.first.weight = tensor([1.0])
    with pytest.raises(TypeError, match="as child module"):
        net.first = 3
    with pytest.raises(TypeError, match="as buffer"):
        net.count = "many"
    with pytest.raises(KeyError, match="already exists"):
        net.register_buffer("forward", tensor(1.0))
    with pytest.raises(KeyError, match="contain"):
        net.register_parameter("a.b", nn.Parameter(tensor([1.0])))
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'nothing'"):
        net.nothing  # noqa: B018
    net.first.bias = None
    assert "first.bias" not in net.state_dict()
    net.count = tensor(5.0)
    assert net._buffers["count"].item() == 5
    net.extra = nn.Buffer(tensor([2.0]), persistent=False)
    assert "extra" in dict(net.named_buffers()) and "extra" not in net.state_dict()
    del net.first
    assert not hasattr(net, "first")
    net.first = nn.Parameter(tensor([1.0]))
    assert "first" in dict(net.named_parameters())

    class Early(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(tensor([1.0]))

    with pytest.raises(AttributeError, match="before Module.__init__"):
        Early()


def test_parameter_is_a_leaf_over_the_same_memory():
    data = tensor([1.0, 2.0])
    parameter = nn.Parameter(data)
    assert parameter.requires_grad and parameter.is_leaf
    data[0] = 7
    assert parameter[0].item() == 7
    assert repr(parameter).startswith("Parameter containing:\ntensor([7., 2.]")
    twin = copy.deepcopy(parameter)
    assert isinstance(twin, nn.Parameter) and twin.data_ptr() != parameter.data_ptr()
    back = pickle.loads(pickle.dumps(parameter))
    assert isinstance(back, nn.Parameter) and back.tolist() == [7.0, 2.0]
    with pytest.raises(RuntimeError, match="floating point"):
        nn.Parameter(tensor([1]))


def test_forward_hooks():
    net, seen = Net(), []
    x = ops.ones((1, 3))
    plain = net(x)
    first = net.register_forward_pre_hook(lambda m, args: seen.append("pre") or (args[0] * 2,))
    second = net.register_forward_hook(lambda m, args, out: out + 1)
    third = net.register_forward_hook(
        lambda m, args, kwargs, out: seen.append(dict(kwargs)), with_kwargs=True, prepend=True
    )
    doubled = net(x, scale=1.0)
    assert seen == ["pre", {"scale": 1.0}]
    first.remove(), second.remove(), third.remove()
    assert not np.allclose(doubled.detach().numpy(), plain.detach().numpy())
    np.testing.assert_array_equal(net(x).detach().numpy(), plain.detach().numpy())
    with net.register_forward_pre_hook(
        lambda m, args, kwargs: (args, {"scale": 0.0}), with_kwargs=True
    ):
        assert net(x, scale=3.0).abs().sum().item() == 0
    with pytest.raises(RuntimeError, match="tuple of"):
        with net.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True):
            net(x)


def test_always_called_hook():
    net, seen = Net(), []
    net.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(RuntimeError):
        net(ops.ones((1, 5)))
    assert seen == [None]


def test_global_hooks():
    seen = []
    with hooks.register_module_forward_hook(lambda m, args, out: seen.append(type(m).__name__)):
        Net()(ops.ones((1, 3)))
    assert seen == ["Linear", "ReLU", "Linear", "Sequential", "Net"]
    names = []
    with hooks.register_module_parameter_registration_hook(lambda m, n, p: names.append(n)):
        nn.Linear(2, 2)
    assert names == ["weight", "bias"]
    nn.Linear(2, 2)(ops.ones((1, 2)))
    assert len(seen) == 5


def _with_backward_hooks(library, make, x):
    """What hooks of a linear layer see, as numbers."""
    layer, seen = make(), []
    layer.register_full_backward_hook(
        lambda m, gi, go: seen.append([None if g is None else g.tolist() for g in (*gi, *go)])
    )
    layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
    y = layer(x)
    (y * y).sum().backward()
    return seen, layer.weight.grad.tolist(), None if x.grad is None else x.grad.tolist()


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize("needs", [True, False])
def test_backward_hooks(needs):
    torch = pytest.importorskip("torch")
    start = [[1.0, 2.0]], [[0.5, -1.0], [2.0, 1.0]]

    def ours():
        layer = nn.Linear(2, 2, bias=False)
        layer.weight.data = tensor(start[1])
        return layer

    def theirs():
        layer = torch.nn.Linear(2, 2, bias=False)
        layer.weight.data = torch.tensor(start[1])
        return layer

    a = _with_backward_hooks(nn, ours, tensor(start[0], requires_grad=needs))
    b = _with_backward_hooks(torch.nn, theirs, torch.tensor(start[0], requires_grad=needs))
    assert a == b


def test_backward_hook_replaces_the_gradient():
    layer = nn.Linear(2, 1)
    layer.register_full_backward_hook(lambda m, gi, go: (ops.zeros_like(gi[0]),))
    x = ops.ones((1, 2)).requires_grad_()
    layer(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0]]
    layer.register_full_backward_hook(lambda m, gi, go: (None, None))
    with pytest.raises(RuntimeError, match="invalid number of grad_input"):
        layer(x).sum().backward()


def test_state_dict_round_trip():
    net, other = Net(), Net()
    state = net.state_dict()
    assert state._metadata["first"] == {"version": 1}
    assert repr(other.load_state_dict(state)) == "<All keys matched successfully>"
    for a, b in zip(net.parameters(), other.parameters()):
        assert a.tolist() == b.tolist() and a.data_ptr() != b.data_ptr()
    assert not state["first.weight"].requires_grad
    assert net.state_dict(keep_vars=True)["first.weight"] is net.first.weight
    assert list(net.first.state_dict(prefix="x.")) == ["x.weight", "x.bias"]


def test_loading_what_does_not_fit():
    net = Net()
    state = OrderedDict(net.state_dict())
    state["surplus"] = state.pop("count")
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    assert 'Missing key(s) in state_dict: "count". ' in str(error.value)
    assert 'Unexpected key(s) in state_dict: "surplus". ' in str(error.value)
    found = net.load_state_dict(state, strict=False)
    assert found.missing_keys == ["count"] and found.unexpected_keys == ["surplus"]
    state["first.bias"] = tensor([1.0])
    with pytest.raises(RuntimeError, match="size mismatch for first.bias: copying a param with"):
        net.load_state_dict(state, strict=False)
    with pytest.raises(TypeError, match="dict-like"):
        net.load_state_dict([1, 2])


def test_loading_by_assignment():
    net = Net()
    state = {k: v.double() for k, v in net.state_dict().items()}
    net.load_state_dict(state, assign=True)
    assert net.first.weight.dtype is dtypes.float64 and net.first.weight.requires_grad
    assert isinstance(net.first.weight, nn.Parameter)
    assert net.first.weight.data_ptr() == state["first.weight"].data_ptr()


def test_state_dict_hooks_and_extra_state():
    class Extra(nn.Linear):
        note = "new"

        def get_extra_state(self):
            return self.note

        def set_extra_state(self, state):
            self.note = state + "!"

    layer = Extra(2, 2)
    layer.register_state_dict_post_hook(lambda m, state, prefix, meta: state.pop(prefix + "bias"))
    with pytest.raises(RuntimeError, match="must return None"):
        layer.state_dict()
    layer = Extra(2, 2)

    def drop(m, state, prefix, meta):
        del state[prefix + "bias"]

    layer.register_state_dict_post_hook(drop)
    state = layer.state_dict()
    assert sorted(state) == ["_extra_state", "weight"]

    def add(module, state, prefix, meta, strict, missing, unexpected, errors):
        assert module is layer
        state[prefix + "bias"] = tensor([5.0, 6.0])

    layer.register_load_state_dict_pre_hook(add)
    layer.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.append("made up"))
    assert layer.load_state_dict(state, strict=False).missing_keys == ["made up"]
    assert layer.bias.tolist() == [5.0, 6.0] and layer.note == "new!"


def test_train_eval_and_gradients():
    net = Net()
    assert net.training and not net.eval().second[1].training and net.train().second.training
    with pytest.raises(ValueError, match="expected to be boolean"):
        net.train("yes")
    net(ops.ones((1, 3))).sum().backward()
    assert net.first.weight.grad is not None
    net.zero_grad(set_to_none=False)
    assert net.first.weight.grad.abs().sum().item() == 0
    net.zero_grad()
    assert net.first.weight.grad is None
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_moving_and_casting():
    net = Net()
    net.register_buffer("number", tensor(3))
    weight = net.first.weight
    assert net.double() is net and net.first.weight is weight
    assert weight.dtype is dtypes.float64 and net.count.dtype is dtypes.float64
    assert net.number.dtype is dtypes.int64
    assert net.to(dtypes.float32).first.weight.dtype is dtypes.float32
    assert net.to("cpu", dtypes.float64).first.weight.dtype is dtypes.float64
    assert net.to(tensor([1.0])).first.weight.dtype is dtypes.float32
    assert net.half().first.weight.dtype is dtypes.float16 and weight.requires_grad
    with pytest.raises(TypeError, match="only accepts floating point"):
        net.to(dtypes.int64)
    with pytest.raises(RuntimeError):
        net.to("cuda")
    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "ReLU", "Linear", "Sequential", "Net"]


def test_copies():
    net = Net()
    net.register_forward_hook(lambda m, args, out: out)
    twin = copy.deepcopy(net)
    assert twin.first.weight.data_ptr() != net.first.weight.data_ptr()
    assert twin.first.weight.tolist() == net.first.weight.tolist()
    twin.first.weight.data.zero_()
    assert net.first.weight.abs().sum().item() > 0
    back = pickle.loads(pickle.dumps(nn.Linear(2, 3)))
    assert back(ops.ones((1, 2))).shape == (1, 3)


def test_forward_is_missing():
    with pytest.raises(NotImplementedError, match='missing the required "forward" function'):
        nn.Module()(1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'size'"):
        nn.Module(size=3)


BUILT = {
    "sequential": lambda nn: nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(5, 2, bias=False),
    ),
    "lists": lambda nn: nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU(), nn.GELU()]),
    "dicts": lambda nn: nn.ModuleDict({"a": nn.Tanh(), "b": nn.Sequential(nn.Sigmoid())}),
    "transformer": lambda nn: nn.TransformerEncoderLayer(8, 2),
    "convolutions": lambda nn: nn.ModuleList(
        [
            nn.Conv1d(2, 4, 3, 2, 1, 2, 2, False, "reflect"),
            nn.ConvTranspose2d(2, 4, 3, 2, 1, 1),
            nn.Conv2d(1, 1, 3, padding="same"),
            nn.Conv3d(2, 2, (1, 2, 3)),
        ]
    ),
    "norms": lambda nn: nn.ModuleList(
        [
            nn.LayerNorm((2, 3)),
            nn.GroupNorm(2, 4),
            nn.InstanceNorm2d(3),
            nn.RMSNorm(4),
            nn.LocalResponseNorm(2),
            nn.BatchNorm1d(3, affine=False),
        ]
    ),
    "tables": lambda nn: nn.ModuleList(
        [
            nn.Embedding(4, 3, padding_idx=1),
            nn.Embedding(4, 3, max_norm=1.0, sparse=False),
            nn.EmbeddingBag(4, 3, mode="sum"),
        ]
    ),
    "activations": lambda nn: nn.ModuleList(
        [
            nn.ELU(),
            nn.SELU(),
            nn.CELU(0.5),
            nn.GELU("tanh"),
            nn.Hardshrink(),
            nn.Hardsigmoid(),
            nn.Hardswish(),
            nn.Hardtanh(),
            nn.LeakyReLU(),
            nn.LogSigmoid(),
            nn.Mish(),
            nn.PReLU(),
            nn.ReLU6(),
            nn.RReLU(),
            nn.SiLU(),
            nn.Softplus(),
            nn.Softshrink(),
            nn.Softsign(),
            nn.Tanhshrink(),
            nn.Threshold(0.1, 20),
            nn.GLU(),
            nn.Softmin(1),
            nn.Softmax(1),
            nn.Softmax2d(),
            nn.LogSoftmax(1),
            nn.Identity(3),
            nn.Hardswish(True),
        ]
    ),
    "pools": lambda nn: nn.ModuleList(
        [
            nn.MaxPool1d(2, 1),
            nn.AvgPool1d(2),
            nn.AvgPool2d(2, padding=1),
            nn.AdaptiveAvgPool2d((1, 2)),
            nn.AdaptiveMaxPool1d(3),
            nn.LPPool2d(2, 3),
            nn.MaxUnpool2d(2),
        ]
    ),
    "others": lambda nn: nn.ModuleList(
        [
            nn.Upsample(scale_factor=2),
            nn.Upsample(size=(2, 3), mode="bilinear"),
            nn.PixelShuffle(2),
            nn.ZeroPad2d(1),
            nn.ConstantPad1d((1, 2), 3.0),
            nn.ReflectionPad2d(2),
            nn.Unflatten(1, (2, 3)),
            nn.CosineSimilarity(),
            nn.CrossEntropyLoss(),
            nn.Bilinear(2, 3, 4),
            nn.Fold(3, 2),
            nn.LSTM(2, 3, 2, bidirectional=True),
            nn.GRUCell(2, 3),
            nn.Dropout2d(),
            nn.ChannelShuffle(2),
        ]
    ),
}


@pytest.mark.parametrize("name", BUILT)
def test_printed_form_and_state_are_torchs(name):
    torch = pytest.importorskip("torch")
    ours, theirs = BUILT[name](nn), BUILT[name](torch.nn)
    assert repr(ours) == repr(theirs)
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    assert [tuple(v.shape) for v in mine.values()] == [tuple(v.shape) for v in other.values()]
    assert [str(v.dtype) for v in mine.values()] == [str(v.dtype) for v in other.values()]


def test_signatures_are_torchs():
    torch = pytest.importorskip("torch")
    import inspect

    wrong = []
    for name, mine in vars(nn).items():
        other = getattr(torch.nn, name, None)
        if not (inspect.isclass(mine) and inspect.isclass(other)) or name in ("Module", "Buffer"):
            continue
        a, b = (list(inspect.signature(c.__init__).parameters.values())[1:] for c in (mine, other))
        if any(p.kind == p.VAR_POSITIONAL for p in (*a, *b)):
            continue
        if [p.name for p in a] != [p.name for p in b]:
            wrong.append((name, [p.name for p in a], [p.name for p in b]))
    assert wrong == []


def test_functional_signatures_are_torchs():
    torch = pytest.importorskip("torch")
    import inspect

    from eager.nn import functional

    wrong = []
    for name in functional.__all__:
        try:
            theirs = list(inspect.signature(getattr(torch.nn.functional, name)).parameters)
        except ValueError:
            continue
        if theirs == ["args", "kwargs"]:
            continue
        theirs = [p for p in theirs if p != "out"]  # every operator takes it
        mine = list(inspect.signature(getattr(functional, name)).parameters)
        if mine != theirs:
            wrong.append((name, mine, theirs))
    assert not wrong


LAZY = {
    "LazyLinear": (lambda nn: nn.LazyLinear(3), (2, 5)),
    "LazyConv2d": (lambda nn: nn.LazyConv2d(4, 3, padding=1, bias=False), (2, 3, 5, 5)),
    "LazyConvTranspose1d": (lambda nn: nn.LazyConvTranspose1d(4, 3, 2), (2, 3, 5)),
    "LazyBatchNorm2d": (lambda nn: nn.LazyBatchNorm2d(), (2, 3, 5, 5)),
    "LazyInstanceNorm1d": (lambda nn: nn.LazyInstanceNorm1d(affine=True), (2, 3, 5)),
}


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("name", LAZY)
def test_lazy_layers(name):
    make, shape = LAZY[name]
    layer = make(nn)
    state = layer.state_dict()
    with pytest.raises(RuntimeError, match="shape of an uninitialized"):
        layer.weight.shape  # noqa: B018
    y = layer(ops.ones(shape))
    assert type(layer).__name__ == name.removeprefix("Lazy") and type(layer.weight) is nn.Parameter
    loaded = make(nn)
    loaded.load_state_dict(layer.state_dict())
    assert loaded.weight.tolist() == layer.weight.tolist()
    assert loaded(ops.ones(shape)).tolist() == y.tolist()
    assert list(state) == list(layer.state_dict())
    torch = pytest.importorskip("torch")
    theirs = make(torch.nn)
    theirs(torch.ones(shape))
    assert repr(layer) == repr(theirs)
    assert [tuple(p.shape) for p in layer.parameters()] == [
        tuple(p.shape) for p in theirs.parameters()
    ]
