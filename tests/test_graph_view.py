"""Questions about a graph by networkx, and its drawing."""

import random
import re

import networkx as nx
import pytest
import torch
from torch import fx, nn

from lwc.graph_view import as_networkx, find_cycle, lifetimes, module_regions, peak_memory, to_dot
from lwc.trace import Program
from tests.programs import program_of


def graph_of(edges: dict[str, tuple[str, ...]]) -> fx.Graph:
    """A graph of sums: each name with the names that it reads."""
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    for name, reads in edges.items():
        nodes[name] = graph.create_node("call_function", max, tuple(nodes[read] for read in reads), name=name)
    return graph


DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("d",)}


def test_the_nodes_are_names_and_the_edges_go_to_the_readers() -> None:
    view = as_networkx(graph_of(DIAMOND))
    assert list(view.nodes) == list("abcde")
    assert set(view.edges) == {("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "e")}


def test_a_graph_with_an_order_has_no_cycle() -> None:
    assert find_cycle(graph_of(DIAMOND)) == []


def test_nodes_that_need_each_other_are_named_in_order() -> None:
    graph = graph_of(DIAMOND)
    nodes = {node.name: node for node in graph.nodes}
    # As if b, c and d had become one node, in b's place, that still reads c.
    nodes["c"].replace_input_with(nodes["a"], nodes["d"])
    assert sorted(find_cycle(graph)) == ["c", "d"]
    nodes["b"].replace_input_with(nodes["a"], nodes["b"])
    assert find_cycle(graph) == ["b"]


def test_a_graph_has_a_cycle_where_it_has_no_order(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(50):
        names = "abcdefgh"
        graph = graph_of({n: tuple(m for m in names[:i] if draw.random() < 0.3) for i, n in enumerate(names)})
        early, late = sorted(draw.sample(list(graph.nodes), 2))
        view = as_networkx(graph)
        early.args = (*early.args, late)
        assert bool(find_cycle(graph)) == nx.has_path(view, early.name, late.name)


FLOAT = 4


def test_an_activation_is_alive_until_its_last_reader(rng: torch.Generator) -> None:
    program = program_of(lambda x: (y := torch.cat([x, x])).sin().sum() + y.sum(), (10,), rng=rng)
    # y and its sine, each of 20 numbers, and the sine's sum; x is gone.
    assert peak_memory(program) == (41 * FLOAT, "sum_1")


def test_a_lifetime_reaches_to_the_last_reader_of_a_view(rng: torch.Generator) -> None:
    program = program_of(lambda x: (y := x.sin()).reshape(5, 2).cos().reshape(10) + y, (10,), rng=rng)
    names = [node.name for node in program.module.graph.nodes]
    alive = {name: [names[at] for at in positions] for name, positions in lifetimes(program).items()}
    assert names == ["inputs_0", "sin", "view", "cos", "view_1", "add", "output"]
    assert alive == {
        "inputs_0": ["inputs_0", "sin"],
        "sin": ["sin", "view", "cos", "view_1", "add"],
        "cos": ["cos", "view_1", "add"],
        "add": ["add", "output"],
    }


def test_the_operands_and_the_result_are_alive_together(rng: torch.Generator) -> None:
    program = program_of(lambda x, y: x + y, (10,), (10,), rng=rng)
    assert peak_memory(program) == (30 * FLOAT, "add")


def test_a_reshape_takes_no_memory_and_keeps_its_operand_alive(rng: torch.Generator) -> None:
    program = program_of(lambda x: x.sin().reshape(5, 2).cos().sum(), (10,), rng=rng)
    assert peak_memory(program) == (20 * FLOAT, "sin")
    program = program_of(lambda x: (y := x.sin()).reshape(5, 2).cos() + y.exp().reshape(5, 2), (10,), rng=rng)
    assert peak_memory(program) == (30 * FLOAT, "exp")


def test_parts_of_a_tuple_take_no_memory_of_their_own(rng: torch.Generator) -> None:
    program = program_of(lambda x: (y := x.sin().split(5))[0] * y[1], (10,), rng=rng)
    # The input and its sine; the sine and its parts; the parts and their product.
    assert peak_memory(program) == (20 * FLOAT, "sin")


def test_constants_do_not_count(rng: torch.Generator) -> None:
    program = program_of(nn.Linear(10, 1000), (1, 10), rng=rng)
    assert peak_memory(program) == (1010 * FLOAT, "linear")


class Block(nn.Module):
    """Modules in modules, and an operator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layers, then a sum."""
        out: torch.Tensor = self.layers(x)
        return out + 1


@pytest.fixture
def block(rng: torch.Generator) -> Program:
    return program_of(Block(), (1, 3, 8, 8), rng=rng)


def test_the_regions_are_the_modules_that_call_operators(block: Program) -> None:
    assert module_regions(block) == {"layers.0": ["conv2d"], "layers.1": ["relu"]}


def statements(dot: str) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """The nodes, the edges and the clusters' labels of a drawing, a line each, in braces that match."""
    text = r'"((?:[^"\\]|\\.)*)"'
    nodes: list[str] = []
    edges: list[tuple[str, str]] = []
    labels: list[str] = []
    depth = 0
    for line in map(str.strip, dot.splitlines()):
        if line == "}" or re.fullmatch(r"(digraph|subgraph) \w+ \{", line):
            depth += 1 if line.endswith("{") else -1
        elif edge := re.fullmatch(rf"{text} -> {text};", line):
            edges.append((edge[1], edge[2]))
        elif label := re.fullmatch(rf"label={text};", line):
            labels.append(label[1])
        elif node := re.fullmatch(rf"{text} \[label={text}\];", line):
            nodes.append(node[1])
        else:
            assert line == "node [shape=box];"
        assert depth > 0 or line == "}"
    assert depth == 0
    return nodes, edges, labels


def test_a_drawing_has_a_line_for_each_node_and_edge_and_a_cluster_for_each_region(block: Program) -> None:
    dot = to_dot(block, module_regions(block))
    nodes, edges, labels = statements(dot)
    view = as_networkx(block.module.graph)
    assert sorted(nodes) == sorted(view.nodes)
    assert edges == list(view.edges)
    assert labels == ["layers.0", "layers.1"]
    assert '    "conv2d" [label="aten.conv2d.default\\nfloat32[1, 4, 6, 6]"];' in dot.splitlines()


def test_a_node_lies_in_its_region(block: Program) -> None:
    dot = to_dot(block, {"both": ["conv2d", "relu"]})
    inside = dot[dot.index("subgraph") : dot.index("  }")]
    assert all((f'"{name}" [' in inside) == (name in ("conv2d", "relu")) for name in statements(dot)[0])


@pytest.mark.parametrize("name", ['a "quote"', "a\\b", "ends with \\", "two\nlines", "a; }", "-> {", ""])
def test_names_are_escaped(block: Program, name: str) -> None:
    _, _, labels = statements(to_dot(block, {name: ["relu"]}))
    (label,) = labels
    assert label.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\") == name


def test_a_program_without_regions_is_drawn_flat(block: Program) -> None:
    nodes, _, labels = statements(to_dot(block, {}))
    assert len(nodes) == len(block.module.graph.nodes)
    assert labels == []
