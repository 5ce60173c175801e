"""Programs as users write them, in source that says `import torch`: each trains something small for a
few steps and gives back its losses. Weights and data are NumPy's, so that every library that runs
this file starts from the same numbers. `compiled` is applied to what a user would compile.
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.distributions import Categorical
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__] = function
    return function


def weighted(module):
    """The module with weights that NumPy draws."""
    random = np.random.default_rng(1)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = max(parameter.shape[-1] if parameter.dim() else 1, 1) ** -0.5
            drawn = (random.standard_normal(tuple(parameter.shape)) * scale).astype(np.float32)
            parameter.copy_(torch.from_numpy(drawn))
    return module


class Data:
    def __init__(self):
        self.random = np.random.default_rng(0)

    def normal(self, *shape):
        return torch.from_numpy(self.random.standard_normal(shape).astype(np.float32))

    def below(self, limit, *shape):
        return torch.from_numpy(self.random.integers(0, limit, shape))


def train(optimizer, loss, steps, after=lambda: None):
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        after()
        optimizer.step()
        found.append(value.item())
    return found


class VariationalAutoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(20, 16)
        self.mean, self.log_variance = nn.Linear(16, 4), nn.Linear(16, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 20))

    def forward(self, x, noise):
        hidden = F.elu(self.encoder(x))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + torch.exp(0.5 * log_variance) * noise
        drawn = torch.sigmoid(self.decoder(z))
        distance = F.binary_cross_entropy(drawn, (x > 0).float(), reduction="sum")
        return distance - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())


@program
def variational_autoencoder(data, compiled):
    model = weighted(VariationalAutoencoder())
    run, x, noise = compiled(model), data.normal(12, 20), data.normal(12, 4)
    return train(torch.optim.Adam(model.parameters(), 1e-2), lambda: run(x, noise), 6)


@program
def adversarial(data, compiled):
    generator = weighted(nn.Sequential(
        nn.ConvTranspose2d(8, 16, 4, 1, 0, bias=False), nn.BatchNorm2d(16), nn.ReLU(True),
        nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh(),
    ))
    critic = weighted(nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 16, 3, 2, 1),
        nn.BatchNorm2d(16), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(64, 1),
    ))
    draw, judge, loss = compiled(generator), compiled(critic), nn.BCEWithLogitsLoss()
    first = torch.optim.SGD(critic.parameters(), 1e-2, momentum=0.9, nesterov=True)
    second = torch.optim.RMSprop(generator.parameters(), 1e-3)
    real, noise = data.normal(4, 3, 8, 8), data.normal(4, 8, 1, 1)
    found = []
    for _ in range(3):
        first.zero_grad()
        fake = draw(noise)
        value = loss(judge(real), torch.ones(4, 1)) + loss(judge(fake.detach()), torch.zeros(4, 1))
        value.backward()
        first.step()
        second.zero_grad()
        deceived = loss(judge(fake), torch.ones(4, 1))
        deceived.backward()
        second.step()
        found += [value.item(), deceived.item()]
    return found


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8, padding_idx=0)
        self.lstm = nn.LSTM(8, 12, num_layers=2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(24, 11)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(
            self.embedding(x), lengths, batch_first=True, enforce_sorted=False
        )
        states, (last, _) = self.lstm(packed)
        return self.out(pad_packed_sequence(states, batch_first=True)[0]), last


@program
def packed_sequences(data, compiled):
    model = weighted(Tagger())
    run, x, lengths = compiled(model), data.below(10, 4, 6) + 1, torch.tensor([6, 3, 5, 1])

    def loss():
        scores, last = run(x, lengths)
        wanted = x.flatten()
        found = F.cross_entropy(scores.flatten(0, 1), wanted, ignore_index=0, label_smoothing=0.1)
        return found + last.square().mean()

    def clip():
        nn.utils.clip_grad_value_(model.parameters(), 0.5)

    return train(torch.optim.Adagrad(model.parameters(), 0.05), loss, 3, clip)


class GraphNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(5, 8), nn.Linear(8, 3)])

    def forward(self, x, edges):
        source, target = edges
        for number, layer in enumerate(self.layers):
            h = layer(x)
            ones = torch.ones_like(target, dtype=h.dtype)
            degree = torch.zeros(x.size(0)).index_add_(0, target, ones).clamp_(min=1)
            places = target.unsqueeze(-1).expand(-1, h.size(-1))
            x = torch.zeros_like(h).scatter_add(0, places, h[source]) / degree.unsqueeze(1)
            if number == 0:
                x = F.relu(x)
        return F.log_softmax(x, dim=1)


@program
def graph_network(data, compiled):
    model = weighted(GraphNetwork())
    run, x, edges, y = compiled(model), data.normal(9, 5), data.below(9, 2, 30), data.below(3, 9)
    optimizer = torch.optim.NAdam(model.parameters(), 0.01)
    return train(optimizer, lambda: F.nll_loss(run(x, edges), y), 4)


@program
def policy_gradient(data, compiled):
    policy = weighted(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)))
    critic = weighted(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)))
    act, judge = compiled(policy), compiled(critic)
    states, actions, returns = data.normal(32, 4), data.below(3, 32), data.normal(32)
    before = Categorical(logits=policy(states)).log_prob(actions).detach()

    def loss():
        chosen, value = Categorical(logits=act(states)), judge(states).squeeze(-1)
        advantage = (returns - value).detach()
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        ratio = torch.exp(chosen.log_prob(actions) - before)
        gain = torch.min(ratio * advantage, torch.clamp(ratio, 0.8, 1.2) * advantage).mean()
        return 0.5 * F.mse_loss(value, returns) - gain - 0.01 * chosen.entropy().mean()

    optimizer = torch.optim.AdamW([*policy.parameters(), *critic.parameters()], 3e-3)
    return train(optimizer, loss, 3)


@program
def differential_equation(data, compiled):
    model = weighted(nn.Sequential(
        nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Softplus(), nn.Linear(16, 1)
    ))
    points = data.normal(16, 2).requires_grad_()
    optimizer = torch.optim.LBFGS(
        model.parameters(), lr=0.5, max_iter=5, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        u = model(points)
        slope = torch.autograd.grad(u.sum(), points, create_graph=True)[0]
        bend = torch.autograd.grad(slope[:, 0].sum(), points, create_graph=True)[0][:, 0]
        loss = ((slope[:, 1] - 0.1 * bend) ** 2).mean() + (u**2).mean()
        loss.backward()
        return loss

    return [optimizer.step(closure).item() for _ in range(2)]


@program
def transformer(data, compiled):
    model = weighted(nn.Transformer(16, 4, 1, 1, 32, dropout=0.0, batch_first=True))
    run, source, target = compiled(model), data.normal(3, 7, 16), data.normal(3, 5, 16)
    padding = torch.zeros(3, 7, dtype=torch.bool)
    padding[1, 5:] = True
    masks = {
        "tgt_mask": nn.Transformer.generate_square_subsequent_mask(5), "tgt_is_causal": True,
        "src_key_padding_mask": padding, "memory_key_padding_mask": padding,
    }
    optimizer = torch.optim.RAdam(model.parameters(), 1e-2)
    return train(optimizer, lambda: F.smooth_l1_loss(run(source, target, **masks), target), 3)


class Segmenter(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 16, 3, padding=2, dilation=2, groups=2)
        self.norm = nn.GroupNorm(4, 16)
        self.out = nn.Conv2d(24, 2, 1)

    def forward(self, x):
        fine = F.silu(self.down(x))
        coarse = F.hardswish(self.norm(self.wide(F.max_pool2d(fine, 2))))
        size = fine.shape[-2:]
        coarse = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        return self.out(torch.cat([fine, coarse], 1))


@program
def segmentation(data, compiled):
    model = weighted(Segmenter())
    run, x, y = compiled(model), data.normal(2, 1, 12, 14), data.below(2, 2, 12, 14)

    def loss():
        scores = run(x)
        inside = scores.softmax(1)[:, 1]
        dice = 1 - (2 * (inside * y).sum() + 1) / (inside.sum() + y.sum() + 1)
        return F.cross_entropy(scores, y, weight=torch.tensor([0.3, 0.7])) + dice

    return train(torch.optim.Adadelta(model.parameters()), loss, 3)


@program
def meta_learning(data, compiled):
    model = weighted(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)))
    weights, x, y = dict(model.named_parameters()), data.normal(5, 3), data.normal(5, 1)

    def loss(weights, x, y):
        return F.mse_loss(functional_call(model, weights, (x,)), y)

    def stepped(weights):
        slope = grad(loss)(weights, x, y)
        return {name: value - 0.1 * slope[name] for name, value in weights.items()}

    each = vmap(grad(loss), in_dims=(None, 0, 0))(weights, x.unsqueeze(1), y.unsqueeze(1))
    outer = grad(lambda weights: loss(stepped(weights), x, y))(weights)
    return [
        *(part.square().sum().item() for part in each.values()), loss(stepped(weights), x, y).item(),
        *(part.square().sum().item() for part in outer.values()),
        jacrev(lambda x: model(x).sum())(x).sum().item(),
    ]


class Quantile(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, q):
        ctx.save_for_backward(x)
        ctx.q = q
        return torch.where(x > 0, q * x, (q - 1) * x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, ctx.q, ctx.q - 1) * gradient, None


@program
def own_derivative(data, compiled):
    model, x = weighted(nn.Linear(4, 3)), data.normal(8, 4)
    run = compiled(lambda x: Quantile.apply(model(x), 0.9).mean())
    optimizer, rates = torch.optim.SGD(model.parameters(), 0.1), []
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [
        torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2),
        torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5),
    ], milestones=[2])
    losses = []
    for _ in range(5):
        losses += train(optimizer, lambda: run(x), 1)
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    return losses + rates
