"""The rows of a matrix where they lie: what slices and permutes the rows before a product needs no copy.

MobileViT orders pixels by patches, LeViT takes every second pixel of every second row: with NHWC both leave each row of
channels whole, and a product may as well read it at its old place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from lwc.graph import RESHAPES, shape_of
from lwc.ops.view import named_arguments

aten = torch.ops.aten
_RESHAPES = (*RESHAPES, aten.clone.default)

# An expression of TensorIR, or a number, for each axis but the last.
_Index = list[Any]


@dataclass(frozen=True)
class Gather:
    """A matrix whose row i is row `place(i)` of `source` (..., K), counted over its flattened leading axes."""

    source: fx.Node
    place: Callable[[Any], Any]

    def into(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """`compute(kernel, x, ...)` for the source (rows, K) in place of the matrix x."""
        return lambda kernel, x, *rest: compute(kernel, _Rows(x, self.place), *rest)


@dataclass(frozen=True)
class _Rows:
    """What a template reads as it reads a tensor (rows, K)."""

    source: Any
    place: Callable[[Any], Any]

    @property
    def dtype(self) -> Any:
        """Of the elements."""
        return self.source.dtype

    def __getitem__(self, index: tuple[Any, Any]) -> Any:
        row, k = index
        return self.source[self.place(row), k]


def gather_before(x: fx.Node) -> Gather | None:
    """How to read the rows of `x` (..., K) from before it was sliced and permuted; None where it was not."""
    steps: list[fx.Node] = []
    source = x
    while _moves_rows(source):
        steps.append(source)
        source = source.all_input_nodes[0]
    if all(node.target in _RESHAPES for node in steps):
        return None

    def place(row: Any) -> Any:
        index = _split(row, shape_of(x)[:-1])
        for node in steps:
            index = _before(node, index)
        return _flat(index, shape_of(source)[:-1])

    return Gather(source, place)


def _moves_rows(node: fx.Node) -> bool:
    """Whether `node` only moves rows, whole, for a single reader."""
    if node.op != "call_function" or len(node.users) > 1 or not node.all_input_nodes:
        return False
    if node.target in _RESHAPES:
        before = shape_of(node.all_input_nodes[0])
        return len(before) > 0 and shape_of(node)[-1:] == before[-1:]
    if node.target is aten.permute.default:
        return _axes(node)[-1] == len(_axes(node)) - 1
    return node.target is aten.slice.Tensor and _slice(node)[0] != len(shape_of(node)) - 1


def _before(node: fx.Node, index: _Index) -> _Index:
    """Where the row at `index` of `node`'s result lies in its operand."""
    if node.target in _RESHAPES:
        before = shape_of(node.all_input_nodes[0])
        return _split(_flat(index, shape_of(node)[:-1]), before[:-1])
    if node.target is aten.permute.default:
        return [index[_axes(node).index(axis)] for axis in range(len(index))]
    sliced, start, step = _slice(node)
    return [start + step * at if axis == sliced else at for axis, at in enumerate(index)]


def _axes(node: fx.Node) -> list[int]:
    """The operand's axes in the order of the result."""
    axes = named_arguments(node)["dims"]
    return [axis % len(axes) for axis in axes]


def _slice(node: fx.Node) -> tuple[int, int, int]:
    """Axis, start and step of a slice."""
    extents, given = shape_of(node.all_input_nodes[0]), named_arguments(node)
    axis = given["dim"] % len(extents)
    start, _, step = slice(given["start"], given["end"], given["step"]).indices(extents[axis])
    return axis, start, step


def _split(flat: Any, extents: Sequence[int]) -> _Index:
    """The index of element `flat` of a tensor of `extents`."""
    index: _Index = []
    for extent in reversed(extents[1:]):
        index.insert(0, flat % extent)
        flat = flat // extent
    return [flat, *index] if extents else []


def _flat(index: _Index, extents: Sequence[int]) -> Any:
    """The number of the element at `index` of a tensor of `extents`."""
    flat: Any = 0
    for at, extent in zip(index, extents, strict=True):
        flat = flat * extent + at
    return flat
