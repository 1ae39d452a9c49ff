"""Passes made of one function, and the verifier's answer to them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import fx

from lwc.graph import aten
from lwc.pipeline import Pass, Pipeline, run_pipeline
from lwc.pipeline.verify import Verifier
from lwc.trace import Program

Rewrite = Callable[[Program, fx.Node], None]


def make(rewrite_: Rewrite, target: Any = aten.hardtanh.default, **members: Any) -> Pass[fx.Node]:
    """A pass that applies `rewrite_` to every call of `target`."""

    class Made(Pass[fx.Node]):
        name: ClassVar[str] = "made"

        def match(self, program: Program, node: fx.Node) -> fx.Node | None:
            return node if node.target is target else None

        def rewrite(self, program: Program, match: fx.Node) -> None:
            rewrite_(program, match)

    for name, value in members.items():
        setattr(Made, name, value)
    return dataclass(frozen=True)(Made)()


def verified(item: Pass[Any], program: Program) -> Verifier:
    """The verifier after a run of `item` alone."""
    verifier = Verifier(program)
    run_pipeline(Pipeline((item,)), program, (verifier,))
    return verifier


def clip_lower(program: Program, node: fx.Node) -> None:
    node.args = (node.args[0], 0.0, 0.7)
