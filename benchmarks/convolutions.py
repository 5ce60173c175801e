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
    calls = {"ours": ours.caller(ours.compile("inductor"))}
    try:
        torch = case.Case(case.Library("torch", options.threads), name, False, 1)
    except ImportError:
        torch = None
    if torch is not None:
        torch.copy_weights(ours)
        calls["torch"] = torch.caller(torch.model)
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


NOTES = {
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
        f"Written by `python -m benchmarks.convolutions --threads {options.threads} --document"
        f" docs/performance.md` on {machine()}; {clock}, threads: {options.threads}."
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
    for kind, table in (("kernels", kernels), ("networks", networks)):
        if options.only not in (None, kind):
            continue
        tables[kind] = []
        for line in table(options):
            print(line, flush=True)
            tables[kind].append(line)
        print()
    if options.document:
        from benchmarks.document import replace

        replace(options.document, "Convolutions", section(options, tables))


if __name__ == "__main__":
    main()
