"""A graph as a picture: one SVG, or one HTML page that needs nothing else. Values flow downwards;
a box tells its type and the user's line when it is pointed at."""

from __future__ import annotations

import html
from pathlib import Path

from fx.graph import Graph
from fx.node import Node, describe_target
from fx.text import print_graph, type_of

COLORS = {
    "placeholder": "#cfe8ff", "get_attr": "#e3f5d9", "call_function": "#fff3cf",
    "call_method": "#ffe3cf", "call_module": "#ead9f5", "output": "#d9d9d9",
}  # fmt: skip
ROW, LETTER, PAD, GAP = 56, 7.2, 12, 18

STYLE = """svg{font:12px ui-monospace,monospace}path{fill:none;stroke:#888}
g.node:hover rect{stroke-width:2.5}g.node rect{stroke:#555;rx:5}
text.type{fill:#666;font-size:10px}"""


class Drawing:
    """A drawn graph: `svg` and `html` are texts, `save(path)` writes either by its suffix."""

    def __init__(self, graph: Graph, title: str = "graph") -> None:
        self.graph = graph
        self.title = title
        self.svg = _svg(graph)

    @property
    def html(self) -> str:
        """A page with the picture and the typed text of the graph."""
        title = html.escape(self.title)
        text = html.escape(print_graph(self.graph))
        return (
            f'<!doctype html><meta charset="utf-8"><title>{title}</title>'
            f"<body style='font-family:sans-serif'><h1>{title}</h1>{self.svg}"
            f"<h2>Program</h2><pre>{text}</pre></body>\n"
        )

    def save(self, path: str | Path) -> None:
        """Writes an .svg or .html file. Raises ValueError for another suffix."""
        suffix = Path(path).suffix
        if suffix not in (".svg", ".html"):
            raise ValueError(f"a drawing is saved as .svg or .html, not {suffix!r}")
        Path(path).write_text(self.svg if suffix == ".svg" else self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        return self.svg


def draw(graph: Graph, title: str = "graph") -> Drawing:
    """Draws a graph."""
    return Drawing(graph, title)


def _svg(graph: Graph) -> str:
    places, width, height = _layout(graph)
    pairs = [(used, node) for node in graph.nodes for used in node.all_input_nodes]
    parts = [_edge(places[used], places[node]) for used, node in pairs]
    parts += [_box(node, *places[node]) for node in graph.nodes]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}"><style>{STYLE}</style>'
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="3" orient="auto">'
        '<path d="M0,0 L7,3 L0,6" style="fill:#888"/></marker></defs>' + "".join(parts) + "</svg>"
    )


def _layout(graph: Graph) -> tuple[dict[Node, tuple[float, float, float]], float, float]:
    """Each node's centre, top and width: rows by depth, in a row by the mean of the inputs."""
    import networkx

    flow = networkx.DiGraph()
    flow.add_nodes_from(graph.nodes)
    flow.add_edges_from((used, node) for node in graph.nodes for used in node.all_input_nodes)
    rows = [list(row) for row in networkx.topological_generations(flow)]
    order = {node: index for index, node in enumerate(graph.nodes)}
    centre: dict[Node, float] = {}
    places: dict[Node, tuple[float, float, float]] = {}
    lengths = [sum(_width(node) + GAP for node in row) for row in rows]
    total = max(lengths, default=0) + 2 * GAP
    for depth, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        row.sort(key=lambda node: (_mean(node, centre), order[node]))
        left = (total - length) / 2
        for node in row:
            width = _width(node)
            centre[node] = left + width / 2
            places[node] = (centre[node], GAP + depth * ROW, width)
            left += width + GAP
    return places, total, GAP + len(rows) * ROW


def _mean(node: Node, centre: dict[Node, float]) -> float:
    known = [centre[used] for used in node.all_input_nodes if used in centre]
    return sum(known) / len(known) if known else 0.0


def _label(node: Node) -> str:
    if node.op in ("placeholder", "output"):
        return node.name
    return f"{node.name} = {describe_target(node.target)}"


def _width(node: Node) -> float:
    return max(len(_label(node)), 0.85 * len(type_of(node))) * LETTER + 2 * PAD


def _box(node: Node, centre: float, top: float, width: float) -> str:
    tip = html.escape("\n".join(filter(None, [str(node.format_node()), node.location])))
    kind = html.escape(type_of(node))
    return (
        f'<g class="node"><title>{tip}</title><rect x="{centre - width / 2:.1f}" y="{top}" '
        f'width="{width:.1f}" height="34" fill="{COLORS[node.op]}"/>'
        f'<text x="{centre:.1f}" y="{top + (15 if kind else 21)}" text-anchor="middle">'
        f"{html.escape(_label(node))}</text>"
        f'<text class="type" x="{centre:.1f}" y="{top + 28}" text-anchor="middle">{kind}</text></g>'
    )


def _edge(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    x0, y0, x1, y1 = start[0], start[1] + 34, end[0], end[1]
    bend = (y1 - y0) / 2
    return (
        f'<path marker-end="url(#tip)" d="M{x0:.1f},{y0} C{x0:.1f},{y0 + bend:.0f} '
        f'{x1:.1f},{y1 - bend:.0f} {x1:.1f},{y1}"/>'
    )
