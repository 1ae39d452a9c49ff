"""Passes from Python."""

from dataclasses import dataclass
from typing import ClassVar

from torch import fx

from lwc.errors import BadInputError, UsageError
from lwc.graph import aten
from lwc.pipeline import Pass, Pipeline
from lwc.trace import Program
from tests.pipeline.plugins import line_of, names


@dataclass(frozen=True)
class Mine(Pass[fx.Node]):
    """ReLU becomes a clamp."""

    name: ClassVar[str] = "mine"

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """A ReLU."""
        return node if node.target is aten.relu.default else None

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the class."""
        match.target, match.args = aten.clamp_min.default, (match.args[0], 0)


def test_passes_are_inserted() -> None:
    pipeline = Pipeline.parse("remove-identities,fold-constants")
    assert names(pipeline.insert_before("fold-constants", Mine())) == [
        "remove-identities", "mine", "fold-constants",
    ]  # fmt: skip
    assert names(pipeline.insert_after("fold-constants", Mine())) == [
        "remove-identities", "fold-constants", "mine",
    ]  # fmt: skip
    assert names(pipeline) == ["remove-identities", "fold-constants"]


def test_a_place_that_is_not_there() -> None:
    for insert in (
        Pipeline.parse("fold-constants").insert_before,
        Pipeline.parse("fold-constants").insert_after,
    ):
        line = line_of(UsageError, lambda insert=insert: insert("fold-padding", Mine()))  # type: ignore[misc]
        assert line == "pass 'fold-padding': not in the pipeline; choose from fold-constants"


def test_a_class_in_place_of_a_pass() -> None:
    want = "pipeline: Mine is a class; write Mine()"
    assert line_of(UsageError, lambda: Pipeline((Mine,))) == want  # type: ignore[arg-type]


def test_something_else_in_place_of_a_pass() -> None:
    want = "pipeline: 'fold-constants' is not a pass; give instances of lwc.pipeline.Pass"
    assert line_of(UsageError, lambda: Pipeline(("fold-constants",))) == want  # type: ignore[arg-type]


def test_a_class_from_python_is_checked_too() -> None:
    class Nameless(Mine):
        pass

    line = line_of(BadInputError, lambda: Pipeline((Nameless(),)))
    assert ":Nameless: is not a frozen dataclass; put @dataclass(frozen=True) before it" in line
