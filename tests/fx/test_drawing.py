"""Drawing a graph."""

import subprocess
import sys
import xml.etree.ElementTree

import pytest

from fx.drawing import draw
from fx.parser import parse

TEXT = """\
def graph(x: f32[2, 3], y):
    add: f32[2, 3] = ops.add(x, y)  # model.py:3  a < b & c
    relu = ops.relu(add)
    return (relu, add)
"""


def test_svg_is_well_formed_and_complete():
    root = xml.etree.ElementTree.fromstring(draw(parse(TEXT)).svg)
    space = "{http://www.w3.org/2000/svg}"
    boxes = [group for group in root.iter(f"{space}g")]
    texts = [text.text for text in root.iter(f"{space}text")]
    assert len(boxes) == 5
    assert "add = ops.add" in texts and "f32[2, 3]" in texts and "output" in texts
    tops = {
        box.find(f"{space}text").text: float(box.find(f"{space}rect").get("y")) for box in boxes
    }
    assert tops["x"] == tops["y"] < tops["add = ops.add"] < tops["relu = ops.relu"] < tops["output"]
    edges = [path for path in root.findall(f"{space}path")]
    assert len(edges) == 5


def test_saving(tmp_path):
    drawing = draw(parse(TEXT), "a < b")
    drawing.save(tmp_path / "graph.svg")
    drawing.save(tmp_path / "graph.html")
    page = (tmp_path / "graph.html").read_text()
    assert (
        "<title>a &lt; b</title>" in page
        and "a &lt; b &amp; c" in page
        and "http" not in (page.replace("http://www.w3.org/2000/svg", ""))
    )
    with pytest.raises(ValueError, match=".svg or .html, not '.pdf'"):
        drawing.save(tmp_path / "graph.pdf")


def test_networkx_is_imported_only_to_draw():
    code = "import sys, fx.drawing; assert 'networkx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
