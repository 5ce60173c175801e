"""`python -m benchmarks.convolutions`: the tables of docs/performance.md's section on convolutions.

The first table is single convolutions as an inference runs them, channels last and with weights
packed beforehand; the second is whole networks against torch, ONNX Runtime and OpenVINO, call by
call in turn. With one thread the clock is the process's own, which stands still while other
programs run; with several it is the wall's: on a busy machine trust ratios, not figures.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.__main__ import THREAD_VARIABLES

NETWORKS = "resnet18,mobilenetv3_large_100,efficientnet_b0,dcgan,unet,convnext_atto"
PEERS = ("onnxruntime", "openvino")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m benchmarks.convolutions", description=__doc__)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--seconds", type=float, default=0.3, help="per contestant and shape")
    made.add_argument("--repeat", type=int, default=20, help="calls of each network")
    made.add_argument("--networks", default=NETWORKS, help="comma-separated; empty for none")
    made.add_argument("--only", choices=("kernels", "networks"))
    made.add_argument("--training", action="store_true", help="gradients and training steps instead")
    made.add_argument("--batch", type=int, default=4, help="images of a training step")
    made.add_argument("--document", type=Path, metavar="FILE.md", help="write the section here too")
    return made


# -- single convolutions ---------------------------------------------------------------------


def contestants(shape: tuple[int, ...], count: int) -> tuple[float, dict[str, Callable[[], Any]]]:
    """The operations of a convolution, and who is to compute it."""
    import numpy as np

    from benchmarks.kernels import has_torch
    from inductor.program import Program, input, output
    from inductor.templates import channelwise, convolution, direct, packing, winograd
    from inductor.templates import frame as frames
    from inductor.templates.image import Convolution

    batch, channels, size, filters, kernel, stride, groups = shape
    conv = Convolution(
        batch, channels, size, size, filters, (kernel, kernel), (stride, stride),
        (kernel // 2, kernel // 2), groups=groups,
    )
    random = np.random.default_rng(0)
    image = random.standard_normal((batch, size, size, channels), dtype=np.float32)
    weight = random.standard_normal((filters, channels // groups, kernel, kernel), dtype=np.float32)
    out = np.empty((batch, conv.out_height, conv.out_width, filters), np.float32)
    flag = np.zeros(1, np.int32)

    def ours(pack: Any, room: int, template: Any, data: Any = image) -> Callable[[], Any]:
        packed = np.empty(room, np.float32)
        Program([pack.step(input(0), output(0))], 1, 1).call((weight, packed))
        words = (input(0), input(1), output(0)) if template.scratch else (
            input(0), input(1), output(0), 0
        )
        program = Program([template.step(*words, input(2))], 3, 1)
        return lambda: program.call((data, packed, flag, out))

    functions: dict[str, Callable[[], Any]] = {}
    if channelwise.handles(conv):
        turn = convolution.transpose(filters, kernel * kernel, "float32")
        functions["ours"] = ours(turn, weight.size, channelwise.forward(conv))
    else:
        thin = frames.is_thin(conv)
        frame = frames.thin_frame(conv) if thin else frames.frame(conv)
        data = image
        if thin:
            data = np.zeros(packing.padded_size(conv), np.float32)
        pack = packing.pack(frame, packing.weights(conv))
        functions["ours"] = ours(pack, frame.packed, direct.kernel(frame), data)
        if winograd.handles(conv):
            room = winograd.Cut(conv).packed
            functions["winograd"] = ours(winograd.pack(conv), room, winograd.kernel(conv))
    if has_torch():
        functions.update(of_torch(image, weight, (stride, kernel // 2, 1, groups), count))
    return float(conv.flops), functions


def of_torch(image: Any, weight: Any, how: tuple, count: int) -> dict[str, Callable[[], Any]]:
    """torch on both orders of an image."""
    import torch

    from benchmarks.kernels import _torch

    x, w = torch.from_numpy(image).permute(0, 3, 1, 2), torch.from_numpy(weight)

    def contestant(given: Any) -> Callable[[], Any]:
        return _torch(lambda: torch.nn.functional.conv2d(given, w, None, *how), count)

    return {"torch": contestant(x.contiguous()), "torch, channels last": contestant(x)}


def kernels(options: argparse.Namespace) -> Iterator[str]:
    """The first table, in Markdown."""
    from benchmarks.kernels import IMAGES, interleaved, peak

    clock = time.process_time if options.threads == 1 else time.perf_counter
    names = ("ours", "winograd", "torch", "torch, channels last")
    yield "| convolution | " + " | ".join(names) + " | peak | share |"
    yield "|---|" + "---|" * (len(names) + 2)
    spin, operations = peak()
    for name, shape in IMAGES.items():
        flops, functions = contestants(shape, options.threads)
        best = interleaved({**functions, "peak": spin}, options.seconds, clock)
        limit = operations / best.pop("peak") / 1e9 * options.threads
        rates = {who: flops / seconds / 1e9 for who, seconds in best.items()}
        cells = [f"{rates[who]:.0f}" if who in rates else "" for who in names]
        share = f"{100 * rates['ours'] / limit:.0f}%"
        yield f"| {name} | " + " | ".join(cells) + f" | {limit:.0f} | {share} |"


# -- networks --------------------------------------------------------------------------------


def network(name: str, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """The least milliseconds of a call by each contestant."""
    from benchmarks import case
    from benchmarks.peers.peer import load

    case.SOURCES.setdefault(name, "image")
    ours = case.Case(case.Library("flambeau", options.threads), name, False, 1)
    calls = {"ours": ours.compiled("inductor")}
    try:
        torch = case.Case(case.Library("torch", options.threads), name, False, 1)
    except ImportError:
        torch = None
    if torch is not None:
        torch.copy_weights(ours)
        calls["torch"] = torch.caller(torch.forward)
        for peer in PEERS:
            try:
                calls[peer] = load(peer).prepare(torch, options.threads, folder).call
            except Exception as error:
                print(f"{name}: no {peer}: {error}")
    clock = time.process_time if options.threads == 1 else time.perf_counter
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(options.repeat):
        for who, call in calls.items():
            begin = clock()
            call()
            best[who] = min(best[who], clock() - begin)
    return {who: seconds * 1e3 for who, seconds in best.items()}


def networks(options: argparse.Namespace) -> Iterator[str]:
    """The second table, in Markdown."""
    names = ("ours", "torch", *PEERS)
    yield "| network | " + " | ".join(names) + " | best peer / ours |"
    yield "|---|" + "---|" * (len(names) + 1)
    with tempfile.TemporaryDirectory() as folder:
        for name in filter(None, options.networks.split(",")):
            best = network(name, options, Path(folder))
            cells = [f"{best[who]:.2f}" if who in best else "" for who in names]
            others = [seconds for who, seconds in best.items() if who != "ours"]
            gain = f"{min(others) / best['ours']:.2f}" if others else ""
            yield f"| {name} | " + " | ".join(cells) + f" | {gain} |"


# -- training --------------------------------------------------------------------------------


def gradient_steps(conv: Any, by_weight: bool) -> tuple[list[Any], int]:
    """The program (image or gradient, gradient or weight) of a gradient, and its workspace."""
    from inductor.program import input, output, workspace
    from inductor.templates import components, direct, outer, packing, winograd
    from inductor.templates.frame import gradient_frames

    if by_weight:
        way = components if components.handles(conv) else outer
        return [way.weight_gradient(conv).step(input(0), input(1), output(0), workspace(0))], 64
    if winograd.handles(conv) and winograd.pays(conv):
        back = winograd.turned(conv)
        return [
            winograd.pack(back, True).step(input(1), workspace(64)),
            winograd.kernel(back).step(input(0), workspace(64), output(0), workspace(0)),
        ], 64 + 4 * winograd.Cut(back).packed
    steps, place = [], 64
    for work, taps in gradient_frames(conv):
        if not work.empty:
            packed = packing.pack(work, packing.gradient_weights(conv, taps))
            steps.append(packed.step(input(1), workspace(place)))
        steps += [
            direct.kernel(work).step(input(0), workspace(place), output(0), work.first),
        ]
        place += -(-4 * work.packed // 64) * 64
    return steps, place


def gradients(options: argparse.Namespace) -> Iterator[str]:
    """The table of single gradients, weights packed in the call."""
    import numpy as np

    from benchmarks.kernels import IMAGES, has_torch, interleaved, peak
    from inductor.program import Program
    from inductor.templates.image import Convolution

    clock = time.process_time if options.threads == 1 else time.perf_counter
    yield "| convolution | by image | torch | by weight | torch | peak | shares |"
    yield "|---|---|---|---|---|---|---|"
    spin, operations = peak()
    random = np.random.default_rng(0)
    for name, (_, channels, size, filters, kernel, stride, groups) in IMAGES.items():
        if groups > 1:
            continue
        pair = (kernel // 2, kernel // 2)
        conv = Convolution(
            options.batch, channels, size, size, filters, (kernel, kernel), (stride, stride), pair
        )
        image, slopes = (random.standard_normal(shape, dtype=np.float32) for shape in (
            (conv.batch, size, size, channels),
            (conv.batch, conv.out_height, conv.out_width, filters),
        ))
        weight = random.standard_normal((filters, channels, kernel, kernel), dtype=np.float32)
        functions: dict[str, Callable[[], Any]] = {"peak": spin}
        for by_weight in (False, True):
            steps, room = gradient_steps(conv, by_weight)
            program = Program(steps, 2, 1, room)
            words = (image, slopes, np.empty_like(weight)) if by_weight else (
                slopes, weight, np.empty_like(image)
            )
            functions[f"ours {by_weight}"] = lambda p=program, w=words: p.call(w)
            if has_torch():
                functions[f"torch {by_weight}"] = _gradient_of_torch(
                    conv, image, slopes, weight, by_weight, options.threads
                )
        best = interleaved(functions, options.seconds, clock)
        limit = operations / best.pop("peak") / 1e9
        rates = {who: conv.flops / seconds / 1e9 for who, seconds in best.items()}
        cells = [
            f"{rates[who]:.0f}" if who in rates else ""
            for who in ("ours False", "torch False", "ours True", "torch True")
        ]
        shares = ", ".join(f"{100 * rates[f'ours {b}'] / limit:.0f}%" for b in (False, True))
        yield f"| {name} | " + " | ".join(cells) + f" | {limit:.0f} | {shares} |"


def _gradient_of_torch(
    conv: Any, image: Any, slopes: Any, weight: Any, by_weight: bool, count: int
) -> Callable[[], Any]:
    import torch

    from benchmarks.kernels import _torch

    x, g = (torch.from_numpy(a).permute(0, 3, 1, 2).contiguous() for a in (image, slopes))
    how = (list(conv.stride), list(conv.padding), [1, 1], False, [0, 0], 1)
    mask = [not by_weight, by_weight, False]
    w = torch.from_numpy(weight)
    backward = torch.ops.aten.convolution_backward
    return _torch(lambda: backward(g, x, w, None, *how, mask), count)


def training(options: argparse.Namespace) -> Iterator[str]:
    """The table of training steps: forward, backward and SGD."""
    from benchmarks import case

    clock = time.process_time if options.threads == 1 else time.perf_counter
    yield "| network | batch | ours | torch eager | torch / ours |"
    yield "|---|---|---|---|---|"
    for name in filter(None, options.networks.split(",")):
        case.SOURCES.setdefault(name, "image")
        ours = case.Case(case.Library("flambeau", options.threads), name, True, options.batch)
        peer = case.Case(case.Library("torch", options.threads), name, True, options.batch)
        peer.copy_weights(ours)
        calls = {"ours": ours.compiled("inductor"), "torch": peer.caller(peer.forward)}
        best = dict.fromkeys(calls, float("inf"))
        for turn in range(options.repeat + 1):
            for who, call in calls.items():
                begin = clock()
                call()
                if turn:
                    best[who] = min(best[who], clock() - begin)
        cells = " | ".join(f"{seconds * 1e3:.1f}" for seconds in best.values())
        yield f"| {name} | {options.batch} | {cells} | {best['torch'] / best['ours']:.2f} |"


NOTES = {
    "gradients": """
Gradients of single convolutions, GF/s by the operations of the direct way (Winograd's passes the
peak), images with their channels last for ours and in PyTorch's order for torch; ours packs weights
in the call. `shares` are those of ours in the peak.
""",
    "training": """
Training steps (forward, backward, SGD), least milliseconds of a step, call by call in turn.
""",
    "kernels": """
Single convolutions, GF/s by the operations of the direct way, so that Winograd may pass the peak.
`ours` is the direct kernel, `winograd` what an inference uses where there is a figure; both read
weights that are packed once. `share` is that of `ours` in the `peak` of multiply-adds in registers,
measured in between.
""",
    "networks": """
Networks at batch 1, least milliseconds of a call: flambeau compiled, torch eager, ONNX Runtime and
OpenVINO in float32, with the same weights and as many threads.
""",
}


def section(options: argparse.Namespace, tables: dict[str, list[str]]) -> list[str]:
    """The section of the document: what was measured where, and the tables."""
    from benchmarks.document import machine

    clock = "the process's own time" if options.threads == 1 else "wall time"
    lines = [
        f"Written by `python -m benchmarks.convolutions --threads {options.threads}"
        f"{' --training' if options.training else ''} --document docs/performance.md` on {machine()}; {clock}, threads: {options.threads}."
    ]
    for kind, table in tables.items():
        lines += [NOTES[kind].rstrip(), "", *table]
    return lines


def main() -> None:
    """Print the tables."""
    options = parser().parse_args()
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)
    tables: dict[str, list[str]] = {}
    chosen = [("kernels", kernels), ("networks", networks)]
    if options.training:
        chosen = [("gradients", gradients), ("training", training)]
    for kind, table in chosen:
        if options.only not in (None, "networks" if kind == "training" else kind):
            continue
        tables[kind] = []
        for line in table(options):
            print(line, flush=True)
            tables[kind].append(line)
        print()
    if options.document:
        from benchmarks.document import replace

        title = "Convolutions that learn" if options.training else "Convolutions"
        replace(options.document, title, section(options, tables))


if __name__ == "__main__":
    main()
