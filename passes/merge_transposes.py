"""A chain of reshapes and transposes becomes one transpose at most, or a reshape alone.

    Given:   y = reshape(transpose(reshape(transpose(reshape(x)))))
    Result:  y = reshape(permute(reshape(x)))

The chain is run on the numbers of x's elements. The numbers in their new order, read as the digits of a
mixed radix, tell the axes of the one permutation that gives the same order.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import RESHAPES, aten, shape_of
from lwc.passes.layout import permute, reshape
from lwc.pipeline import Pass
from lwc.trace import Program

_TRANSPOSES = (aten.permute.default, aten.transpose.int, aten.t.default)
_MOVES = (*RESHAPES, *_TRANSPOSES, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default)


@dataclass(frozen=True)
class Axes:
    """A tensor's elements as axes of these extents, and a permutation of them."""

    extents: list[int]
    order: list[int]

    @property
    def transposes(self) -> bool:
        """Whether the permutation moves anything."""
        return self.order != sorted(self.order)

    def element_order(self) -> torch.Tensor:
        """Which element lies where after the permutation."""
        return torch.arange(math.prod(self.extents)).reshape(self.extents).permute(self.order).flatten()


@dataclass(frozen=True)
class Chain:
    """Reshapes and transposes in a row from `source` to `last`, and the one permutation that does the same."""

    source: fx.Node
    last: fx.Node
    axes: Axes


@dataclass(frozen=True)
class MergeTransposes(Pass[Chain]):
    """Reshapes and transposes in a row become one transpose at most."""

    name: ClassVar[str] = "merge-transposes"

    def match(self, program: Program, node: fx.Node) -> Chain | None:
        """A chain that ends in `node` and has more transposes than it needs."""
        if not _ends_chain(node):
            return None
        chain = [node]
        while _moves(chain[0].args[0]) and len(chain[0].args[0].users) == 1:  # type: ignore[union-attr]
            chain.insert(0, chain[0].args[0])  # type: ignore[arg-type]
        source: Any = chain[0].args[0]
        axes = _axes(_element_order(chain, shape_of(source)))
        if axes is None or sum(link.target in _TRANSPOSES for link in chain) <= axes.transposes:
            return None
        return Chain(source, node, axes)

    def rewrite(self, program: Program, match: Chain) -> None:
        """See the module's docstring."""
        graph, axes = program.module.graph, match.axes
        with graph.inserting_before(match.last):
            y = match.source
            if axes.transposes:
                y = permute(graph, reshape(graph, y, axes.extents), tuple(axes.order))
            y = reshape(graph, y, list(shape_of(match.last)))
        match.last.replace_all_uses_with(y)


def _moves(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.target in _MOVES


def _ends_chain(node: fx.Node) -> bool:
    return _moves(node) and not (len(node.users) == 1 and _moves(next(iter(node.users))))


def _element_order(chain: list[fx.Node], shape: tuple[int, ...]) -> torch.Tensor:
    """Which element of the source, by its number, lies where at the end of the chain."""
    numbers = torch.arange(math.prod(shape)).reshape(shape)
    for node in chain:
        # A view of a transposed tensor may not exist where a reshape does.
        target: Any = aten.reshape.default if node.target in RESHAPES else node.target
        numbers = target(numbers, *node.args[1:], **node.kwargs)
    return numbers.flatten()


def _axes(numbers: torch.Tensor) -> Axes | None:
    """The fewest axes of the source whose permutation gives the order `numbers`; None where none does."""
    wanted = numbers
    digits: list[tuple[int, int]] = []
    while len(numbers) > 1:
        step = int(numbers[1])
        steady = numbers == torch.arange(len(numbers)) * step
        extent = len(numbers) if bool(steady.all()) else int(steady.int().argmin())
        digits.insert(0, (step, extent))
        numbers = numbers[::extent]
    by_step = sorted(digits, reverse=True)
    axes = Axes([extent for _, extent in by_step], [by_step.index(digit) for digit in digits])
    return axes if torch.equal(axes.element_order(), wanted) else None
