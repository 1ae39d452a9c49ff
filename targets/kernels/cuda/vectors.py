"""Whether a block that is scheduled element by element may move several at a time."""

from typing import Any

from lwc.tvm_api import Schedule, structural_walk, tirx, tvm

# Of real numbers in one load or store.
LANES = 4


def moves_vectors(sch: Schedule, block: Any) -> bool:
    """Whether LANES neighbouring results of `block`, all real numbers, need as many neighbouring elements, or one.

    They lie at multiples of LANES, and no condition tells them apart: TVM would take them one by one.
    """
    stage = sch.get(block)
    if not stage.iter_vars or _chooses(stage.body):
        return False
    bounds = tvm.sym.Analyzer()
    for axis in stage.iter_vars:
        bounds.bind(axis.var, axis.dom)
    last = stage.iter_vars[-1].var
    return all(_in_whole_vectors(region, last, bounds) for region in (*stage.reads, *stage.writes))


def _chooses(body: Any) -> bool:
    found: list[Any] = []

    def collect(call: Any) -> None:
        if getattr(call.op, "name", "") == "tirx.if_then_else":
            found.append(call)

    structural_walk(body, (tvm.ir.Call, collect))
    return bool(found)


def _in_whole_vectors(region: Any, axis: Any, bounds: Any) -> bool:
    operand = region.source.ty
    if str(operand.dtype) not in ("float32", "float16"):
        return False
    indices = [bounds.simplify(place.min) for place in region.region]
    if not any(_uses(index, axis) for index in indices):
        return True
    if any(_uses(index, axis) for index in indices[:-1]) or int(operand.shape[-1]) % LANES:
        return False
    offset = bounds.simplify(indices[-1] - axis)
    return isinstance(offset, tirx.IntImm) and int(offset) % LANES == 0


def _uses(index: Any, axis: Any) -> bool:
    return any(used.same_as(axis) for used in tirx.analysis.undefined_vars(index, []))
