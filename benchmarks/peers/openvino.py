"""OpenVINO on its CPU plugin: float32, latency first, as many threads as every peer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.case import Case
from benchmarks.peers.export import onnx_file
from benchmarks.peers.peer import Prepared


class OpenVino:
    name = "openvino"

    def prepare(self, case: Case, threads: int, folder: Path) -> Prepared:
        """The exported file, compiled. Raises Unsupported where the model cannot be exported."""
        import openvino

        path = onnx_file(case, folder)
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
            # its own choice would be bfloat16 where the CPU has it
            "INFERENCE_PRECISION_HINT": "f32",
        }
        start = time.perf_counter()
        compiled: Any = openvino.Core().compile_model(str(path), "CPU", settings)
        request = compiled.create_infer_request()
        seconds = time.perf_counter() - start
        feeds = dict(enumerate(case.arrays[: len(compiled.inputs)]))

        def call() -> Any:
            request.infer(feeds, share_inputs=True)
            return request.get_output_tensor(0)

        version = openvino.__version__.split("-")[0]
        return Prepared(
            call, lambda result: {"output": result.data}, f"openvino {version}", seconds
        )


PEER = OpenVino()
