"""What a wrong pass leaves: a program, its inputs, and a command that repeats the failure as it is printed."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import fx, nn

from lwc.errors import VerificationError
from lwc.graph import aten
from lwc.pipeline import Pass, Pipeline
from lwc.rewriting import PassOptions, rewrite
from lwc.trace import Program
from tests.cli.conftest import CLIP, Lwc
from tests.programs import program_of

SMALL = "tests.cli.test_reproducers:blocks"
BLOCKS = 20


def blocks() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """BLOCKS convolutions, each with its batch norm and ReLU6; some have names that the pass that clips takes."""
    parts: list[nn.Module] = []
    for _ in range(BLOCKS):
        layer = nn.Conv2d(32, 32, 1)
        nn.init.kaiming_normal_(layer.weight)
        parts += [layer, nn.BatchNorm2d(32), nn.ReLU6()]
    return nn.Sequential(*parts), (torch.randn(1, 32, 4, 4),)


def command_of(message: str) -> str:
    """The command that the error's message says repeats the failure."""
    found = re.search(r"repeat it with `(lwc bisect [^`]*)`", message)
    assert found is not None
    return found[1]


def failure(message: str) -> str:
    """The rewrite that the message blames, and the size of its difference."""
    found = re.search(r"rewrite \d+ of \d+, at node '\w+', changes the result by \S+", message)
    assert found is not None
    return found[0]


# A name that a shell breaks unless it is quoted.
FILE = './-my passes/$it\'s; "clip".py'
SHORT = "raise-operators,fold-batch-norm,fuse-activation"


@pytest.mark.parametrize(
    "options",
    [
        ("--pass", f"{FILE}:Clip{{bound=0.2}},after=fuse-activation"),
        # One of the two that clip: each block takes three rewrites.
        ("--passes", f"{SHORT},{FILE}:Clip{{bound=0.2}}", "--pass-limit", str(3 * BLOCKS + 1)),
        (
            "--passes",
            "default,-merge-heads",
            "--pass",
            f"{FILE}:Clip,before=convert-layout",
            "--prune",
            "0.5",
        ),
    ],
)
def test_the_command_repeats_the_failure(
    lwc: Lwc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(FILE).parent.mkdir()
    Path(FILE).write_text(CLIP)
    done = lwc("compile", SMALL, *options, "-o", "out")
    assert done.code == 5
    assert sorted(path.name for path in tmp_path.glob("out*")) == [
        "out-reproducer-clip.0.npy",
        "out-reproducer-clip.pt2",
    ]
    again = lwc(*shlex.split(command_of(done.err))[1:])
    assert again.code == 5
    assert failure(again.err) == failure(done.err)


def test_a_shell_reads_the_command_as_it_is_printed(
    shell: Lwc, lwc: Lwc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(FILE).parent.mkdir()
    Path(FILE).write_text(CLIP)
    command = command_of(lwc("compile", SMALL, "--pass", f"{FILE}:Clip", "-o", "it's out").err)
    read = shell(f"lwc() {{ printf '%s\\n' \"$@\"; }}; {command}").out.splitlines()
    assert read == shlex.split(command)[1:]
    assert f"{FILE}:Clip" in read
    assert "it's out-reproducer-clip.pt2" in read


def test_a_reproducer_replaces_no_file(lwc: Lwc, clip: str, tmp_path: Path) -> None:
    mine = tmp_path / "out-reproducer-clip.pt2"
    mine.write_text("mine")
    done = lwc("compile", SMALL, "-o", tmp_path / "out", "--pass", clip)
    assert "out-reproducer-clip-2.pt2" in done.err
    assert mine.read_text() == "mine"


# Pipelines that were made in Python.


@pytest.fixture
def program(rng: torch.Generator) -> Program:
    """A convolution and its ReLU6, of which the pass that clips takes every one."""
    return program_of(nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU6()), (1, 3, 8, 6), rng=rng)


def message_of(pipeline: Pipeline, program: Program, folder: Path) -> str:
    """The error of a pipeline that is wrong."""
    options = PassOptions(pipeline)
    with pytest.raises(VerificationError) as caught:
        rewrite(options, options.pipeline(), program, folder / "net")
    return str(caught.value)


def test_a_class_from_a_file_has_a_command(lwc: Lwc, tmp_path: Path, program: Program) -> None:
    (tmp_path / "clip.py").write_text(CLIP.replace('endswith("7")', 'startswith("conv")'))
    pipeline = Pipeline.parse("default", extra=[f"{tmp_path / 'clip.py'}:Clip,after=fuse-activation"])
    message = message_of(pipeline, program, tmp_path)
    again = lwc(*shlex.split(command_of(message))[1:])
    assert again.code == 5
    assert failure(again.err) == failure(message)


@dataclass(frozen=True)
class Lower(Pass[fx.Node]):
    """ReLU6 clips lower."""

    name: ClassVar[str] = "lower"

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """A ReLU6."""
        return node if node.target is aten.hardtanh.default else None

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """It clips at a tenth."""
        match.args = (match.args[0], 0.0, 0.1)


def test_a_class_that_python_alone_knows_has_none_and_it_is_said(tmp_path: Path, program: Program) -> None:
    message = message_of(Pipeline((Lower(),)), program, tmp_path)
    model = tmp_path / "net-lower.pt2"
    assert model.exists()
    assert f"repeat it from Python, with the same passes and the model {model}; mend the pass" in message
    assert "lwc bisect" not in message
