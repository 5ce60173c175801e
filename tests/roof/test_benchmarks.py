"""The benchmark runner: which models and modes, what a row says, what a failure leaves behind. Nothing is timed here but made-up calls."""

import csv
import io
import math
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import measure
from benchmarks.__main__ import chosen, main, parser
from benchmarks.accuracy import worst
from benchmarks.case import FOLDER, SOURCES, names
from benchmarks.measure import Times, interleave, peak_memory
from benchmarks.peers.peer import Prepared, Unsupported
from benchmarks.report import (
    COLUMNS,
    Progress,
    Rows,
    cell,
    document,
    geometric_mean,
    summary,
    table,
)
from benchmarks.run import figures


def select(*flags):
    return chosen(["mlp", "lenet", "gpt2"], parser().parse_args(flags))


def test_choice_of_models():
    assert select() == ["mlp", "lenet", "gpt2"]
    assert select("--only", "gpt2", "--only", "mlp") == ["mlp", "gpt2"]
    assert select("-k", "^l", "--filter", "2") == ["lenet", "gpt2"]
    assert select("--exclude", "e") == ["mlp", "gpt2"]
    with pytest.raises(SystemExit, match="no model none"):
        select("--only", "none")


def test_list(capsys):
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.split() == names()


def test_every_source_is_a_file():
    assert {file.stem for file in FOLDER.glob("*.py")} - {"__init__"} == set(SOURCES.values())


def test_peers():
    assert parser().parse_args(["--peer", "jax,torch"]).peers == ["torch", "jax"]
    assert parser().parse_args([]).peers == []
    with pytest.raises(SystemExit):
        parser().parse_args(["--peer", "tensorflow"])


class Refusing:
    """A peer that gives what it is told to, or refuses."""

    def __init__(self, value):
        self.value = value

    def prepare(self, case, threads, folder):
        if isinstance(self.value, Exception):
            raise self.value
        return Prepared(lambda: self.value, lambda v: {"output": np.array([v])}, "1", 2.0)


class FakeCase:
    forward = None

    def outputs(self, forward):
        return {"output": np.array([1.0])}


@pytest.mark.parametrize(
    "value, status",
    [
        (1.00001, None), (1.5, "wrong: 5.00e-01 from torch's output"),
        (RuntimeError("no such operator"), "RuntimeError: no such operator"),
        (Unsupported("written for others"), "written for others"),
    ],
)
def test_a_peer_takes_part_with_torchs_results_only(monkeypatch, value, status):
    from benchmarks.run import Contest

    monkeypatch.setattr("benchmarks.peers.peer.load", lambda name: Refusing(value))
    options = parser().parse_args(["--threads", "1"])
    row = {"name": "mlp", "mode": "inference"}
    contest = Contest(row, options, Progress(1, io.StringIO()))
    if status is None:
        contest.add_peer("jax", FakeCase(), None)
        assert list(contest.calls) == ["jax"] and contest.times["jax"].first >= 2.0
        return
    with pytest.raises(Unsupported) as refusal:
        contest.add_peer("jax", FakeCase(), None)
    assert str(refusal.value) == status and not contest.calls


def test_no_peer_is_imported_before_it_is_asked_for():
    code = (
        "import sys, benchmarks.__main__, benchmarks.run; "
        "print([n for n in ('torch', 'jax', 'onnxruntime', 'openvino') if n in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FOLDER.parents[1])
    assert done.stdout.strip() == "[]"


def test_columns_are_those_of_the_dynamo_runner():
    wanted = (
        "dev name batch_size speedup abs_latency compilation_latency compression_ratio eager_peak_mem dynamo_peak_mem p10 p90 "
        "threads loadavg break_even_calls unique_graphs graph_breaks"
    )
    assert set(wanted.split()) <= set(COLUMNS)


def test_figures():
    eager, compiled = Times(0.2, [0.2, 0.2, 0.3]), Times(1.1, [0.1, 0.1, 0.4])
    found = figures({"flambeau eager": eager, "flambeau compiled": compiled})
    assert found["speedup"] == 2 and found["compilation_latency"] == 1.0 and found["break_even_calls"] == 10
    assert found["p90"] == 0.4 and found["p10"] == 0.1
    slower = figures({"flambeau eager": compiled, "flambeau compiled": eager})
    assert slower["break_even_calls"] is None
    assert "best_peer" not in found
    peer = figures(
        {
            "flambeau eager": eager,
            "flambeau compiled": compiled,
            "torch eager": Times(0.1, [0.05]),
            "torch compiled": Times(9.0, [0.2]),
        }
    )
    assert (peer["best_peer"], peer["speedup_over_best_peer"]) == ("torch eager", 0.5)
    assert peer["speedup_over_torch_eager"] == 0.5 and peer["speedup_over_torch_compiled"] == 2


def test_variants_are_called_in_turn(monkeypatch):
    order, times = [], {"a": Times(), "b": Times()}
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    monkeypatch.setattr(measure, "BURST_MOST", 1)
    monkeypatch.setattr(measure, "PAUSE", 0.0)
    interleave(calls, times, 3, 60.0, lambda done, total: None)
    assert order == ["a", "a", "b", "b"] + ["a", "a", "b", "b"] * 3 and len(times["a"].calls) == 3
    interleave(calls, times, 1000, 0.0, lambda done, total: None)
    assert len(times["a"].calls) == 6, "three rounds at least, whatever the budget"


def test_a_turn_of_a_short_call_is_several():
    count, times = [0], {"a": Times()}

    def call():
        count[0] += 1

    interleave({"a": call}, times, 2, 60.0, lambda done, total: None)
    assert len(times["a"].calls) == 2 and count[0] > 6


def test_peak_memory_sees_arrays():
    assert 0.008 <= peak_memory(lambda: np.zeros(1_000_000).sum()) < 0.02


def test_rows_are_written_as_they_come(tmp_path):
    rows = Rows(tmp_path / "deep" / "rows.csv", ("name", "speedup", "status"))
    rows.add({"name": "mlp", "speedup": 1.23456, "status": "ok"})
    rows.add({"name": "gpt2", "speedup": math.nan, "status": "RuntimeError: no, never"})
    with open(tmp_path / "deep" / "rows.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["name", "speedup", "status"],
            ["mlp", "1.235", "ok"],
            ["gpt2", "", "RuntimeError: no, never"],
        ]
    with pytest.raises(KeyError, match="color"):
        rows.add({"color": 1})


def test_table_and_mean():
    text = table([{"name": "mlp", "eager_latency": 0.002, "speedup": 2.0, "status": "ok"}])
    assert "eager ms" in text and "2.00" in text and "torch" not in text
    row = {"mode": "inference", "abs_latency": 1.0, "eager_latency": 4.0, "openvino_latency": 2.0, "onnxruntime_latency": 3.0}
    assert summary([row, {"mode": "inference", "status": "no jax"}]) == [
        "inference: 4.00x over flambeau eager, geometric mean of 1",
        "inference: 2.00x over the better of ONNX Runtime and OpenVINO, geometric mean of 1",
    ]
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0) and math.isnan(geometric_mean([]))
    assert cell(None) == "" and cell(3) == "3" and cell(0.000012345) == "1.234e-05"


def test_progress_in_a_file_is_plain_lines():
    stream = io.StringIO()
    progress = Progress(2, stream)
    progress.step("mlp: timing")
    progress.round(1, 10)
    progress.finish("mlp: ok")
    assert stream.getvalue() == "[0/2] mlp: timing\n[1/2] mlp: ok\n"


def test_chart(tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks.chart import draw

    row = {"name": "mlp", "mode": "inference", "eager_latency": 2.0, "abs_latency": 1.0, "threads": 1}
    draw([row, {**row, "torch_eager_latency": 4.0}, {"name": "broken"}], tmp_path / "a.svg")
    assert "flambeau compiled" in (tmp_path / "a.svg").read_text() or (tmp_path / "a.svg").stat().st_size > 5000
    draw([row], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no measured row"):
        draw([{"name": "broken"}], tmp_path / "b.png")


def test_worst_difference():
    good = {"a": np.array([1.0, 10.0]), "b": np.zeros(0)}
    assert worst(good, good) == (0.0, "")
    assert worst({**good, "a": np.array([1.0, 10.1])}, good) == (pytest.approx(0.01), "a")
    assert worst({**good, "a": np.array([1.0, math.nan])}, good)[0] == math.inf
    assert worst({**good, "a": np.array([1.0])}, good)[0] == math.inf
    with pytest.raises(ValueError, match="only one of the runs"):
        worst({"a": good["a"]}, good)


def test_a_failure_becomes_a_row(tmp_path, monkeypatch, capsys):
    from benchmarks import run

    def fail(*args):
        raise RuntimeError("out of luck\nand more")

    monkeypatch.setattr(run, "performance", fail)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    code = main(["--only", "mlp", "--threads", "1", "--output", str(tmp_path / "rows.csv")])
    assert code == 1
    assert "RuntimeError: out of luck" in (tmp_path / "rows.csv").read_text()
    assert "Traceback" in capsys.readouterr().err


def test_sections_of_a_document(tmp_path):
    from benchmarks.document import replace

    path = tmp_path / "docs" / "performance.md"
    replace(path, "First", ["one", "two"])
    replace(path, "Second", ["three"])
    replace(path, "First", ["## in a line is no heading of ours".replace("## ", "")])
    text = path.read_text()
    assert text.startswith("# Performance\n") and "one" not in text
    assert text.index("## First") < text.index("## Second") and text.endswith("three\n")
    replace(path, "Second", ["three"])
    assert path.read_text() == text


def test_rows_in_markdown():
    row = {
        "name": "mlp", "mode": "inference", "backend": "inductor", "eager_latency": 2.0, "abs_latency": 1.0,
        "status": "ok", "openvino_latency": 3.0,
    }
    refusal = {"name": "gpt2", "mode": "inference", "backend": "jax", "status": "no jax: not today"}
    lines = document([row, refusal])
    assert lines[:2] == ["### Inference", ""] and "| model | eager | compiled | OpenVINO |" in lines
    assert "| mlp | 2000.00 | 1000.00 | 3000.00 |" in lines
    assert "- no jax: not today (inference): gpt2" in lines
    assert any("3.00x over the better of ONNX Runtime and OpenVINO" in line for line in lines)


def test_first_calls_as_a_table():
    from benchmarks.first import lines_of

    good = {"import": 0.25, "build": 0.1, "first": 1.5}
    row = {
        "model": "mlp", "mode": "training", "flambeau cold": good, "flambeau warm": {**good, "first": 0.5},
        "torch cold": {**good, "first": 15.0}, "torch warm": {"status": "exit 1"},
    }
    lines = lines_of([row], ["flambeau", "torch"])
    assert lines[2] == "| mlp | training | 1.50 | 0.25 | 0.50 | 15.00 | exit 1 | exit 1 | 10.0 |"
