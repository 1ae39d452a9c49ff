"""`--no-verify-passes` leaves the comparison out, not the checks that cost nothing."""

from pathlib import Path

from tests.cli.conftest import Lwc

SMALL = ("mobilenet_v1", "--width", "0.25", "--image-size", "32", "--weights", "random")
FLATTEN = """\
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx

from lwc.pipeline import Pass
from lwc.trace import Program


@dataclass(frozen=True)
class Flatten(Pass[fx.Node]):
    name: ClassVar[str] = "flatten"

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        return node if node.op == "output" else None

    def rewrite(self, program: Program, match: fx.Node) -> None:
        (result,) = match.all_input_nodes
        with program.module.graph.inserting_before(match):
            flat = program.module.graph.call_function(torch.ops.aten.reshape.default, (result, [-1]))
        match.replace_input_with(result, flat)
"""


def test_a_pass_that_changes_an_output_is_refused(lwc: Lwc, tmp_path: Path) -> None:
    (tmp_path / "flatten.py").write_text(FLATTEN)
    output = tmp_path / "out"
    done = lwc(
        "compile", *SMALL, "--no-verify-passes", "--pass", f"{tmp_path}/flatten.py:Flatten", "-o", output
    )
    assert done.code == 3
    line = done.err.splitlines()[-1]
    assert "pass 'flatten'" in line
    assert "changes the outputs from float32[1, 1001] to float32[1001]" in line
    assert not output.exists()
