"""`explain`: graphs, breaks with file, line, reason and hint, guards, counts, and its three ways of showing."""

import json

from dynamo.explain import explain
from eager.construct import tensor


def _program(x):
    y = x + 1
    print("hello")
    return y * 2 + y


def test_explanation(capsys):
    explanation = explain(_program)(tensor([1.0, 2.0]))
    assert explanation.graph_count == 2
    assert explanation.graph_break_count == 1
    assert explanation.operator_counts == {"add": 2, "mul": 1}
    assert explanation.result.tolist() == [6.0, 9.0]
    (broken,) = explanation.breaks
    assert broken.file == __file__
    assert broken.stack[-1].text == 'print("hello")'
    assert broken.title == "Call of print"
    assert broken.hint
    assert any("x" in guard for guard in explanation.guards)
    text = str(explanation)
    assert "graphs: 2, breaks: 1" in text
    assert f"{__file__}:{broken.line}" in text
    assert capsys.readouterr().out == "hello\n"


def test_json_and_html():
    explanation = explain(_program)(tensor([1.0, 2.0]))
    record = json.loads(explanation.to_json())
    assert record["breaks"][0]["text"] == 'print("hello")'
    assert record["graph_count"] == 2
    page = explanation._repr_html_()
    assert "Call of print" in page and page.startswith("<div>")


def _loops(x):
    for _ in range(2):
        print("turn")
        x = x + 1
    return x


def test_skipped_frame_has_a_reason():
    explanation = explain(_loops)(tensor([1.0]))
    ((name, reason),) = explanation.skipped
    assert name == "_loops"
    assert reason.title == "Call of print"
    assert "left to Python: _loops" in str(explanation)
