"""What a pass says of its rewrites, and what it is told of the machine."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import fx

from lwc.errors import BadInputError
from lwc.graph import aten
from lwc.pipeline import Note, Pass, Pipeline, run_pipeline
from lwc.targets import x86_64_v3
from lwc.trace import Program
from tests.programs import in_float64, program_of


@dataclass(frozen=True)
class Halve(Pass[fx.Node]):
    """Multiplications by 2 become multiplications by 1, and say on how many cores."""

    name: ClassVar[str] = "halve"

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """A multiplication by 2."""
        return node if node.target is aten.mul.Tensor and node.args[1] == 2.0 else None

    def rewrite(self, program: Program, match: fx.Node) -> Any:
        """See the class's docstring; nothing is said where the target is not known."""
        match.args = (match.args[0], 1.0)
        return None if program.target is None else f"on {program.target.cores} cores"


@dataclass(frozen=True)
class Mumble(Halve):
    """Says what is not a sentence."""

    name: ClassVar[str] = "mumble"
    kind: str = "empty"

    def rewrite(self, program: Program, match: fx.Node) -> Any:
        """One of several wrong notes."""
        return {"empty": " ", "number": 7, "two lines": "a\nb", "flag": True}[self.kind]


@pytest.fixture
def program(rng: torch.Generator) -> Program:
    """Three multiplications, two of them by 2."""
    return program_of(lambda x: (x * 2.0 + 1) * 3.0 * 2.0, (2, 3), rng=rng)


def test_a_note_stands_beside_the_node_that_it_is_about(program: Program) -> None:
    for_four = replace(program, target=x86_64_v3.TARGET)
    _, (record,) = run_pipeline(Pipeline((Halve(),)), for_four)
    assert record.count == 2
    assert record.notes == tuple(Note(node, "on 4 cores") for node in record.rewritten)


def test_a_pass_need_not_say_anything(program: Program) -> None:
    _, (record,) = run_pipeline(Pipeline((Halve(),)), program)
    assert (record.count, record.notes) == (2, ())


def test_notes_end_with_the_limit(program: Program) -> None:
    for_four = replace(program, target=x86_64_v3.TARGET)
    _, (record,) = run_pipeline(Pipeline((Halve(),)), for_four, limit=1)
    assert len(record.notes) == 1


def test_the_target_stays_with_the_program(program: Program) -> None:
    for_four = replace(program, target=x86_64_v3.TARGET)
    after, _ = run_pipeline(Pipeline((Halve(),)), for_four)
    assert after.target == in_float64(after).target == x86_64_v3.TARGET


@pytest.mark.parametrize(
    ("kind", "shown"), [("empty", "' '"), ("number", "7"), ("two lines", r"'a\\nb'"), ("flag", "True")]
)
def test_what_is_not_a_sentence_is_refused(kind: str, shown: str, program: Program) -> None:
    with pytest.raises(BadInputError, match=f"rewrite returned {shown}, not a sentence or None"):
        run_pipeline(Pipeline((Mumble(kind),)), program)
