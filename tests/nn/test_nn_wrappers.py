"""What wraps layers: orthogonal and spectral parametrizations, folding, uninitialized modules, losses with weights of their own."""

import pytest

import flambeau
from flambeau import nn

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder", None])
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_orthogonal_weights(kind, shape):
    layer = nn.utils.parametrizations.orthogonal(nn.Linear(shape[1], shape[0]), orthogonal_map=kind)
    weight = layer.weight
    product = weight @ weight.T if shape[0] <= shape[1] else weight.T @ weight
    assert flambeau.allclose(product, flambeau.eye(min(shape)), atol=1e-5)
    optimizer = flambeau.optim.SGD(layer.parameters(), 0.1)
    layer(flambeau.randn(7, shape[1])).square().sum().backward()
    optimizer.step()
    moved = layer.weight
    product = moved @ moved.T if shape[0] <= shape[1] else moved.T @ moved
    assert flambeau.allclose(product, flambeau.eye(min(shape)), atol=1e-5) and not flambeau.allclose(moved, weight)


@pytest.mark.parametrize("kind", ["matrix_exp", "cayley"])
def test_orthogonal_weights_without_a_base_are_those_of_torch(kind):
    values = torch.randn(4, 4)
    theirs, mine = torch.nn.Linear(4, 4), nn.Linear(4, 4)
    torch.nn.utils.parametrizations.orthogonal(theirs, orthogonal_map=kind, use_trivialization=False)
    nn.utils.parametrizations.orthogonal(mine, orthogonal_map=kind, use_trivialization=False)
    with torch.no_grad():
        theirs.parametrizations.weight.original.copy_(values)
    with flambeau.no_grad():
        mine.parametrizations.weight.original.copy_(flambeau.tensor(values.numpy()))
    assert torch.allclose(torch.tensor(mine.weight.detach().numpy()), theirs.weight, atol=1e-5)


def test_spectral_norm_by_a_hook_is_that_of_torch():
    theirs = torch.nn.utils.spectral_norm(torch.nn.Conv2d(2, 3, 3), n_power_iterations=2)
    mine = nn.utils.spectral_norm(nn.Conv2d(2, 3, 3), n_power_iterations=2)
    state = {name: flambeau.tensor(value.numpy()) for name, value in theirs.state_dict().items()}
    mine.load_state_dict(state)
    x = torch.randn(1, 2, 5, 5)
    for train in (True, True, False):
        mine.train(train)
        theirs.train(train)
        wanted, found = theirs(x), mine(flambeau.tensor(x.numpy()))
        assert torch.allclose(torch.tensor(found.detach().numpy()), wanted, atol=1e-5)
    wanted.sum().backward()
    found.sum().backward()
    assert torch.allclose(torch.tensor(mine.weight_orig.grad.numpy()), theirs.weight_orig.grad, atol=1e-4)
    nn.utils.remove_spectral_norm(mine)
    assert "weight" in dict(mine.named_parameters())
    with pytest.raises(ValueError, match="not found"):
        nn.utils.remove_spectral_norm(mine)


def test_a_linear_layer_and_its_batch_norm_fold():
    linear, norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
    for _ in range(3):
        norm(linear(flambeau.randn(8, 3)))
    linear.eval(), norm.eval()
    x = flambeau.randn(5, 3)
    assert flambeau.allclose(nn.utils.fuse_linear_bn_eval(linear, norm)(x), norm(linear(x)), atol=1e-5)


def test_modules_without_initialization():
    made = nn.utils.skip_init(nn.Linear, 3, 4)
    assert made.weight.shape == (4, 3) and made.weight.device.type == "cpu"
    with pytest.raises(RuntimeError, match="'device' arg"):
        nn.utils.skip_init(nn.ReLU)


def test_linear_cross_entropy_is_the_layers_and_the_loss():
    loss = nn.LinearCrossEntropyLoss(3, 5, out_features=(2,), bias=True, label_smoothing=0.1)
    x, target = flambeau.randn(4, 3), flambeau.randint(0, 5, (4, 2))
    logits = loss.linear(x).reshape(4, 5, 2)
    wanted = nn.functional.cross_entropy(logits, target, label_smoothing=0.1)
    assert flambeau.allclose(loss(x, target), wanted)


def test_fractional_pooling_as_a_module():
    x = flambeau.randn(2, 3, 9, 9)
    values, indices = nn.FractionalMaxPool2d(2, output_ratio=0.5, return_indices=True)(x)
    assert values.shape == (2, 3, 4, 4)
    assert flambeau.equal(x.flatten(2).gather(2, indices.flatten(2)).reshape(values.shape), values)
    with pytest.raises(ValueError, match="output size, or a pooling ratio"):
        nn.FractionalMaxPool3d(2)
