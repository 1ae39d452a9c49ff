"""A graph as networkx sees it, and as Graphviz draws it."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from operator import getitem

import networkx as nx
import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from lwc.graph import through_reshapes
from lwc.trace import Program


def as_networkx(graph: fx.Graph) -> nx.DiGraph:
    """The names of the nodes, in the graph's order, with an edge from each operand to its readers."""
    view = nx.DiGraph()
    view.add_nodes_from(node.name for node in graph.nodes)
    view.add_edges_from((operand.name, node.name) for node in graph.nodes for operand in node.all_input_nodes)
    return view


def find_cycle(graph: fx.Graph) -> list[str]:
    """The names of nodes that need each other, each read by the next and the last by the first; none in an order.

    A region that becomes one node has to be convex: where a path leaves it and comes back, the node needs itself.
    """
    try:
        return [name for name, _ in nx.find_cycle(as_networkx(graph))]
    except nx.NetworkXNoCycle:
        return []


def lifetimes(program: Program) -> dict[str, range]:
    """For each node that gives an activation of its own, the positions in the graph's order where that is alive.

    From the node itself to the last that reads it, or reads what shares its memory.
    """
    view = as_networkx(program.module.graph)
    nodes = {node.name: node for node in program.module.graph.nodes}
    position = {name: number for number, name in enumerate(nodes)}
    last = dict(position)
    for name in reversed(nodes):
        for reader in view.successors(name):
            shares = _storage(nodes[reader]) is not nodes[reader]
            last[name] = max(last[name], last[reader] if shares else position[reader])
    own = [name for name, node in nodes.items() if _storage(node) is node and _size(node)]
    return {name: range(position[name], last[name] + 1) for name in own}


def peak_memory(program: Program) -> tuple[int, str]:
    """The most bytes of activations alive at once, in the graph's order, and the first node where they are.

    Reshapes share their operand's memory, and constants do not count.
    """
    nodes = {node.name: node for node in program.module.graph.nodes}
    alive = lifetimes(program)
    sizes = [0] * len(nodes)
    for name, positions in alive.items():
        for number in positions:
            sizes[number] += _size(nodes[name])
    largest = max(sizes)
    return largest, list(nodes)[sizes.index(largest)]


def _storage(node: fx.Node) -> fx.Node:
    """The node that gives the memory in which `node` lies."""
    source = through_reshapes(node)
    while source.target is getitem:
        source = through_reshapes(source.args[0])
    assert isinstance(source, fx.Node)
    return source


def _size(node: fx.Node) -> int:
    """The bytes of the activations that `node` gives."""
    if node.op not in ("placeholder", "call_function"):
        return 0
    values = [value for value in tree_leaves(node.meta.get("val")) if isinstance(value, torch.Tensor)]
    return sum(value.numel() * value.element_size() for value in values)


def module_regions(program: Program) -> dict[str, list[str]]:
    """The nodes that each module calls itself, by the module's path; the outermost module is no region."""
    regions: dict[str, list[str]] = defaultdict(list)
    for node in program.module.graph.nodes:
        stack = node.meta.get("nn_module_stack") or {"": ("", None)}
        path, _ = list(stack.values())[-1]
        if path:
            regions[path].append(node.name)
    return dict(regions)


def to_dot(program: Program, regions: Mapping[str, Collection[str]]) -> str:
    """The graph in DOT: a line for each node and each edge, a cluster for each region, by its name.

    A node is labelled with its operator and its shape. No node may be in two regions.
    """
    graph = program.module.graph
    inside = {name for names in regions.values() for name in names}
    nodes = {node.name: f"{_quoted(node.name)} [label={_quoted(_label(node))}];" for node in graph.nodes}
    lines = ["digraph program {", "  node [shape=box];"]
    for number, (region, names) in enumerate(regions.items()):
        lines += [f"  subgraph cluster_{number} {{", f"    label={_quoted(region)};"]
        lines += [*(f"    {nodes[name]}" for name in names), "  }"]
    lines += [f"  {line}" for name, line in nodes.items() if name not in inside]
    lines += [f"  {_quoted(a)} -> {_quoted(b)};" for a, b in as_networkx(graph).edges]
    return "\n".join([*lines, "}", ""])


def _label(node: fx.Node) -> str:
    value = node.meta.get("val")
    operator = str(node.target) if node.op == "call_function" else f"{node.op} {node.target}"
    if not isinstance(value, torch.Tensor):
        return operator
    return f"{operator}\n{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"


def _quoted(text: str) -> str:
    """`text` as a DOT string, in one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
