"""Real training: LeNet, or an MLP, on scikit-learn's handwritten digits, eagerly and compiled from the same weights.

    python examples/digits.py [--model mlp] [--optimizer sgd] [--steps 200] [--backend inductor]

Prints both loss curves side by side, how far they are apart, and the accuracy on digits that were kept back. With torch installed and
`--peer torch`, torch trains a third time from the same weights. Training in float32 amplifies the last bit of every sum, more so at large
learning rates; with `--dtype float64` what remains between the curves is what the programs do differently.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.case import Library  # noqa: E402

OPTIMIZERS = {
    "adam": lambda torch, parameters: torch.optim.Adam(parameters, lr=1e-3),
    "sgd": lambda torch, parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9),
}


def data(flat, dtype="float32"):
    """Training and test digits, standardized: every fifth is kept back."""
    digits = load_digits()
    images = (digits.images - digits.images.mean()) / digits.images.std()
    images = images.astype(dtype)
    images = images.reshape(len(images), -1) if flat else images[:, None]
    kept = np.arange(len(images)) % 5 == 0
    target = digits.target.astype(np.int64)
    return images[~kept], target[~kept], images[kept], target[kept]


def train(torch, model, call, optimizer, arrays, steps, batch=256):
    """The losses of `steps` steps over batches in a fixed order, and the accuracy afterwards."""
    images, target, test_images, test_target = (torch.from_numpy(array) for array in arrays)
    order = np.random.default_rng(0).permutation(len(arrays[0]))
    losses = []
    for step in range(steps):
        places = range(step * batch, step * batch + batch)
        chosen = torch.from_numpy(np.take(order, places, mode="wrap"))
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(call(images[chosen]), target[chosen])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        right = (model(test_images).argmax(1) == test_target).sum().item()
    return losses, right / len(arrays[2])


def runs(
    name,
    steps,
    backends=("inductor",),
    peers=("flambeau",),
    optimizer="adam",
    dtype="float32",
    eager=True,
):
    """Loss curves and accuracies by variant, all from the same initial weights."""
    state, found = None, {}
    arrays = data(name == "mlp", dtype)
    for peer in peers:
        library = Library(peer)
        source, torch = library.source(name), library.torch
        compiled = backends if peer == "flambeau" else ()
        for variant in (*(("eager",) if eager or not compiled else ()), *compiled):
            torch.manual_seed(0)
            with library.context():
                model = source.build().to(getattr(torch, dtype))
            if state is None:
                state = {key: np.array(value.numpy()) for key, value in model.state_dict().items()}
            model.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
            call = model if variant == "eager" else torch.compile(model, backend=variant)
            steps_of = OPTIMIZERS[optimizer](torch, model.parameters())
            found[f"{peer} {variant}"] = train(torch, model, call, steps_of, arrays, steps)
    return found


def apart(found):
    """The largest distance between any of the loss curves."""
    curves = np.array([losses for losses, _ in found.values()])
    return float(np.ptp(curves, axis=0).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("lenet", "mlp"), default="lenet")
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adam")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--peer", choices=("torch",))
    options = parser.parse_args()
    peers = ("flambeau", options.peer) if options.peer else ("flambeau",)
    found = runs(
        options.model, options.steps, (options.backend,), peers, options.optimizer, options.dtype
    )
    print("step  " + "  ".join(f"{name:>18}" for name in found))
    for step in range(0, options.steps, max(options.steps // 10, 1)):
        print(f"{step:4}  " + "  ".join(f"{losses[step]:18.6f}" for losses, _ in found.values()))
    for name, (_, accuracy) in found.items():
        print(f"{name}: {100 * accuracy:.2f}% of the kept digits right")
    print(f"largest distance between the curves: {apart(found):.1e}")


if __name__ == "__main__":
    main()
