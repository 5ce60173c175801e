"""Real training: LeNet, or an MLP, on scikit-learn's handwritten digits, eagerly and compiled from the same weights.

    python examples/digits.py [--model mlp] [--steps 200] [--backend inductor]

Prints both loss curves side by side, how far they are apart, and the accuracy on digits that were kept back. With torch installed and
`--peer torch`, torch trains a third time from the same weights.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.case import Library  # noqa: E402


def data(flat):
    """Training and test digits: every fifth is kept back."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    images = images.reshape(len(images), -1) if flat else images[:, None]
    kept = np.arange(len(images)) % 5 == 0
    target = digits.target.astype(np.int64)
    return images[~kept], target[~kept], images[kept], target[kept]


def train(torch, model, compiled, arrays, steps, batch=64):
    """The losses of `steps` steps of Adam over batches in a fixed order, and the accuracy afterwards."""
    images, target, test_images, test_target = (torch.from_numpy(array) for array in arrays)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    order = np.random.default_rng(0).permutation(len(arrays[0]))
    losses = []
    for step in range(steps):
        chosen = torch.from_numpy(np.take(order, range(step * batch, step * batch + batch), mode="wrap"))
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(compiled(images[chosen]), target[chosen])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        right = (model(test_images).argmax(1) == test_target).sum().item()
    return losses, right / len(arrays[2])


def runs(name, steps, backend="inductor", peers=("flambeau",)):
    """Loss curves and accuracies by variant, all from the same initial weights."""
    state, found = None, {}
    for peer in peers:
        library = Library(peer)
        source, torch = library.source(name), library.torch
        variants = ("eager", "compiled") if peer == "flambeau" else ("eager",)
        for variant in variants:
            torch.manual_seed(0)
            with library.context():
                model = source.build()
            if state is None:
                state = {key: np.array(value.numpy()) for key, value in model.state_dict().items()}
            model.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in state.items()})
            call = torch.compile(model, backend=backend) if variant == "compiled" else model
            found[f"{peer} {variant}"] = train(torch, model, call, data(name == "mlp"), steps)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("lenet", "mlp"), default="lenet")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--peer", choices=("torch",))
    options = parser.parse_args()
    peers = ("flambeau", options.peer) if options.peer else ("flambeau",)
    found = runs(options.model, options.steps, options.backend, peers)
    print("step  " + "  ".join(f"{name:>18}" for name in found))
    for step in range(0, options.steps, max(options.steps // 10, 1)):
        print(f"{step:4}  " + "  ".join(f"{losses[step]:18.6f}" for losses, _ in found.values()))
    base = np.array(next(iter(found.values()))[0])
    for name, (losses, accuracy) in found.items():
        apart = np.abs(np.array(losses) - base).max()
        print(f"{name}: {100 * accuracy:.2f}% of the kept digits right, curve {apart:.1e} from the first")


if __name__ == "__main__":
    main()
