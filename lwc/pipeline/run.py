"""Running passes: the walk, the counts, dead code, the graph's check and its shapes, and the hook."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch

from lwc.errors import STOPS
from lwc.graph_view import find_cycle
from lwc.pipeline.guard import blame, is_plugin
from lwc.pipeline.pipeline import Pipeline
from lwc.pipeline.rewrite import Pass
from lwc.pipeline.shapes import Shapes
from lwc.trace import Program


@dataclass(frozen=True)
class Refusal:
    """Why a pass left a candidate as it was, in one sentence."""

    node: str
    reason: str


@dataclass(frozen=True)
class Note:
    """What a pass decided at a candidate that it rewrote, in one sentence."""

    node: str
    text: str


@dataclass(frozen=True)
class PassRecord:
    """What one pass rewrote (the candidates' nodes), what it refused, how long it took (seconds), and its notes."""

    name: str
    rewritten: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    seconds: float
    notes: tuple[Note, ...] = ()

    @property
    def count(self) -> int:
        """How often it rewrote."""
        return len(self.rewritten)


@dataclass(frozen=True)
class Step:
    """One pass of a run, for the hooks: its position from 1, the program before and after, and what it did.

    `before` shares its parameters with `after`, not its graph.
    """

    position: int
    item: Pass[Any]
    before: Program
    after: Program
    record: PassRecord


Hook = Callable[[Step], None]


def run_pipeline(
    pipeline: Pipeline, program: Program, hooks: tuple[Hook, ...] = (), limit: int | None = None
) -> tuple[Program, tuple[PassRecord, ...]]:
    """Run each pass on a copy of `program`, and each hook once after it.

    `limit` ends the rewriting after that many rewrites in all. Raises BadInputError for a plug-in that fails.
    """
    # A plug-in may write into the inputs, which are also the package's sample.
    inputs = tuple(tensor.clone() for tensor in program.inputs)
    program = replace(program, module=deepcopy(program.module), inputs=inputs)
    records: list[PassRecord] = []
    shapes = Shapes()
    refresh(program, shapes, recompile=bool(hooks))
    before = snapshot(program) if hooks else program
    for position, item in enumerate(pipeline.passes, start=1):
        left = None if limit is None else limit - sum(record.count for record in records)
        # Only hooks run what is between two passes.
        records.append(apply_pass(item, program, shapes, left, recompile=bool(hooks)))
        for hook in hooks:
            hook(Step(position, item, before, program, records[-1]))
        if hooks and _may_have_changed(item, records[-1].count):
            before = snapshot(program)
    program.module.recompile()
    return program, tuple(records)


def snapshot(program: Program) -> Program:
    """The program with a graph of its own and the same parameters."""
    module = torch.fx.GraphModule(program.module, deepcopy(program.module.graph))
    return replace(program, module=module)


def _may_have_changed(item: Pass[Any], count: int) -> bool:
    """Whether the graph may be another one after `count` rewrites: a plug-in may change what it only looks at."""
    return count > 0 or is_plugin(item)


def apply_pass(
    item: Pass[Any], program: Program, shapes: Shapes, limit: int | None = None, recompile: bool = True
) -> PassRecord:
    """Rewrite `program` in place, at most `limit` times; unless `recompile`, its module still runs the old graph."""
    start = time.perf_counter()
    graph = program.module.graph
    rewritten: list[str] = []
    notes: list[Note] = []
    # A rewrite that undoes another, or makes what it matches, would go on for ever.
    most = 20 * (len(graph.nodes) + 100)
    while len(rewritten) < most:
        left = most - len(rewritten) if limit is None else min(limit, most) - len(rewritten)
        names, refusals, said = _sweep(item, program, left)
        rewritten += names
        notes += said
        if not (item.repeat and names):
            break
        graph.eliminate_dead_code()
    else:
        raise blame(item, f"does not end: it rewrote {len(rewritten)} times")
    if _may_have_changed(item, len(rewritten)):
        try:
            refresh(program, shapes, recompile)
        except STOPS:
            raise
        except BaseException as error:
            cycle = find_cycle(graph)
            why = f": {cycle[0]!r} needs its own result, through {cycle[-1]!r}" if cycle else ""
            raise blame(item, f"left a graph that does not run{why}", error) from error
    return PassRecord(item.name, tuple(rewritten), refusals, time.perf_counter() - start, tuple(notes))


def _sweep(
    item: Pass[Any], program: Program, limit: int | None
) -> tuple[list[str], tuple[Refusal, ...], list[Note]]:
    """Go over the graph once; the nodes rewritten, the refusals, and the notes."""
    rewritten: list[str] = []
    refusals: list[Refusal] = []
    notes: list[Note] = []
    doing = looking = "match" if type(item).candidates is Pass.candidates else "candidates"
    try:
        for node, match in item.candidates(program):
            doing = f"refuse of node {node.name!r}"
            reason = item.refuse(program, match)
            if reason is not None:
                refusals.append(Refusal(node.name, _sentence("refuse", reason)))
                continue
            if limit is not None and len(rewritten) >= limit:
                break
            doing, name = f"rewrite of node {node.name!r}", node.name
            said = item.rewrite(program, match)
            if said is not None:
                notes.append(Note(name, _sentence("rewrite", said)))
            rewritten.append(name)
            doing = looking
    except STOPS:
        raise
    except BaseException as error:
        raise blame(item, f"failed in {doing}", error) from error
    return rewritten, tuple(refusals), notes


def _sentence(method: str, text: Any) -> str:
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        raise TypeError(f"{method} returned {text!r:.60}, not a sentence or None")
    return text


def refresh(program: Program, shapes: Shapes, recompile: bool = True) -> None:
    """Remove dead nodes and unused parameters, check the graph, and bring every node's shape up to date.

    `recompile`: bring the code that the module runs up to date, too, which takes as long as all the rest.
    """
    module = program.module
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    _drop_unused_tensors(module)
    module.graph.lint()
    if len(module.graph.find_nodes(op="output")) != 1:
        raise ValueError("it has no output")
    if recompile:
        module.recompile()
    shapes.propagate(program)


def _drop_unused_tensors(module: torch.fx.GraphModule) -> None:
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    # Under each of its names, where it has several.
    tensors = (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    )
    for path in {name for name, _ in tensors} - used:
        owner, _, name = path.rpartition(".")
        delattr(module.get_submodule(owner), name)
