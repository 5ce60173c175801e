"""ONNX Runtime on its CPU provider: all graph optimizations, as many threads as every peer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.case import Case
from benchmarks.peers.export import onnx_file
from benchmarks.peers.peer import Prepared


class OnnxRuntime:
    name = "onnxruntime"

    def prepare(self, case: Case, threads: int, folder: Path) -> Prepared:
        """A session on the exported file. Raises Unsupported where the model cannot be exported."""
        import onnxruntime

        path = onnx_file(case, folder)
        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        start = time.perf_counter()
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        seconds = time.perf_counter() - start
        feeds = {slot.name: array for slot, array in zip(session.get_inputs(), case.arrays)}
        return Prepared(
            lambda: session.run(None, feeds),
            lambda result: {"output": result[0]},
            f"onnxruntime {onnxruntime.__version__}",
            seconds,
        )


PEER = OnnxRuntime()
