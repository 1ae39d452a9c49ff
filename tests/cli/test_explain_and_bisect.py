"""`lwc explain` and `lwc bisect`: what passes do to a model, and which of them is wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lwc.pipeline import DEFAULT
from tests.cli.conftest import Lwc

SMALL = ("mobilenet_v1", "--width", "0.25", "--image-size", "32", "--weights", "random")

CLIP = """
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx

from lwc.ops import ConvView
from lwc.pipeline import Pass


@dataclass(frozen=True)
class Clip(Pass[fx.Node]):
    name: ClassVar[str] = "clip"
    bound: float = 0.3

    def match(self, program, node):
        fused = node.target is torch.ops.lwc.conv2d.default and ConvView.of(node).maximum == 6
        return node if fused else None

    def refuse(self, program, match):
        return None if match.name.endswith("7") else "its name does not end in 7"

    def rewrite(self, program, match):
        match.args = (*match.args[:9], self.bound, *match.args[10:])
"""


@pytest.fixture
def clip(tmp_path: Path) -> str:
    """A pass that clips some ReLU6 lower, as `--pass` takes it."""
    (tmp_path / "clip.py").write_text(CLIP)
    return f"{tmp_path / 'clip.py'}:Clip,after=fuse-activation"


def test_explain_shows_each_candidate_of_each_pass(lwc: Lwc) -> None:
    done = lwc("explain", *SMALL)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["position", "pass", "node", "what", "why"]
    assert list(dict.fromkeys(line.split()[1] for line in lines[1:-2])) == list(dict.fromkeys(DEFAULT))
    assert sum(line.split()[1:4:2] == ["fuse-activation", "rewritten"] for line in lines[1:-2]) == 27
    assert re.fullmatch(r"\d+ rewritten, 0 refused", lines[-1])


def test_explain_of_one_pass(lwc: Lwc) -> None:
    done = lwc("explain", *SMALL, "--pass", "fold-batch-norm")
    assert done.out.splitlines()[-1] == "27 rewritten, 0 refused"
    assert "fold-padding" not in done.out


def test_explain_adds_a_pass_of_the_users_and_shows_it_alone(lwc: Lwc, clip: str) -> None:
    document = json.loads(lwc("explain", *SMALL, "--pass", clip, "--json").out)
    (entry,) = document["passes"]
    assert entry["name"] == "clip"
    assert entry["position"] == DEFAULT.index("fuse-activation") + 2
    assert entry["rewritten"]
    assert all(node.endswith("7") for node in entry["rewritten"])
    assert {refusal["reason"] for refusal in entry["refused"]} == {"its name does not end in 7"}


def test_explain_says_what_pruning_does(lwc: Lwc) -> None:
    document = json.loads(lwc("explain", *SMALL, "--prune", "0.5", "--pass", "zero-channels", "--json").out)
    (entry,) = document["passes"]
    assert entry["position"] == DEFAULT.index("prune-channels") + 1
    assert len(entry["rewritten"]) == 13
    assert [refused["reason"] for refused in entry["refused"]] == [
        "rounded up to a multiple of 8, all 8 channels stay",
        "output cannot read fewer channels",
    ]


def test_explain_shows_what_a_pass_decided_for_the_target(lwc: Lwc) -> None:
    options = ("explain", *SMALL, "--pass", "select-depthwise-kernel", "--target")
    lines = lwc(*options, "cortex-a72").out.splitlines()
    assert lines[-1] == "13 rewritten, 0 refused"
    assert all(re.search(r" rewritten +\w+, of padded \d+, .* thousand cycles", line) for line in lines[1:-2])
    (small,) = json.loads(lwc(*options, "cortex-a72", "--json").out)["passes"]
    assert [note["node"] for note in small["notes"]] == small["rewritten"]
    (wide,) = json.loads(lwc(*options, "x86-64-v4", "--json").out)["passes"]
    assert wide["notes"] != small["notes"]


@pytest.mark.parametrize("verb", ["explain", "bisect"])
def test_an_unknown_target_is_refused_before_the_model_is_loaded(lwc: Lwc, verb: str) -> None:
    done = lwc(verb, "no_such_model", "--target", "arm46")
    assert done.code == 2
    assert "did you mean arm64?" in done.line()


def test_explain_stops_at_the_limit(lwc: Lwc) -> None:
    done = lwc("explain", *SMALL, "--pass-limit", "60")
    assert done.out.splitlines()[-1].startswith("60 rewritten")


def test_bisect_of_right_passes(lwc: Lwc) -> None:
    done = lwc("bisect", *SMALL)
    assert done.code == 0
    assert done.out.splitlines()[-1] == "every pass keeps what the model gives"
    document = json.loads(lwc("bisect", *SMALL, "--json").out)
    assert document["agrees"] is True
    assert [item["name"] for item in document["passes"]] == list(DEFAULT)
    assert all((item["error"] is None) == (item["rewrites"] == 0) for item in document["passes"])


def test_bisect_holds_later_passes_against_the_pruned_model(lwc: Lwc, clip: str) -> None:
    done = lwc("bisect", *SMALL, "--prune", "0.5")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "every pass keeps what the pruned model gives"
    later = clip.replace("after=fuse-activation", "after=prune-channels")
    done = lwc("bisect", *SMALL, "--prune", "0.5", "--pass", later)
    assert done.code == 5
    assert "pass 'clip'" in done.err.splitlines()[-1]


def test_bisect_names_the_pass_the_rewrite_and_the_node(lwc: Lwc, clip: str) -> None:
    done = lwc("bisect", *SMALL, "--pass", clip)
    assert done.code == 5
    assert done.out == ""
    error = done.err.splitlines()[-1]
    assert re.search(
        r"pass 'clip' .*: rewrite 1 of \d+, at node '(\S+7)', changes the result by \S+ \(root mean square\)",
        error,
    )


def test_bisect_of_a_wrong_pass_as_json(lwc: Lwc, clip: str) -> None:
    done = lwc("bisect", *SMALL, "--json", "--pass", clip)
    assert done.code == 5
    document = json.loads(done.out)
    assert document["agrees"] is False
    assert document["name"] == "clip"
    assert document["position"] == DEFAULT.index("fuse-activation") + 2
    assert 1 == document["rewrite"] <= document["rewrites"]
    assert document["node"].endswith("7")
    assert document["error"] > document["limit"] > 0
    assert done.err.splitlines()[-1] == f"lwc: {document['message']}"
    assert f"first different: {document['first_different']};" in document["message"]


def test_bisect_of_a_result_that_is_no_number_as_json(lwc: Lwc, clip: str, tmp_path: Path) -> None:
    """JSON has no NaN."""
    (tmp_path / "clip.py").write_text(
        CLIP.replace(
            "match.args = (*match.args[:9], self.bound, *match.args[10:])",
            "match.append(lost := program.module.graph.call_function(torch.ops.aten.mul.Tensor,"
            " (match, float('nan'))))\n"
            "        match.replace_all_uses_with(lost, delete_user_cb=lambda user: user is not lost)",
        )
    )
    done = lwc("bisect", *SMALL, "--json", "--pass", clip)
    assert done.code == 5
    document = json.loads(done.out)
    assert (document["error"], document["node"][-1]) == (None, "7")
    assert "makes the result NaN; first different: " in document["message"]


def test_a_compilation_stops_at_the_wrong_pass_and_leaves_a_reproducer(
    lwc: Lwc, clip: str, tmp_path: Path
) -> None:
    done = lwc("compile", *SMALL, "-o", tmp_path / "out", "--pass", clip)
    assert done.code == 5
    assert not (tmp_path / "out").exists()
    command = re.search(r"repeat it with `lwc (bisect [^`]*)`", done.err)
    assert command is not None
    assert "--target native" in command[1]
    assert (tmp_path / "out-reproducer-clip.pt2").exists()
    again = lwc(*command[1].split())
    assert again.code == 5
    size = re.compile(r"rewrite \d+ of \d+, at node '\w+', changes the result by \S+")
    assert size.findall(again.err) == size.findall(done.err) != []


def test_a_reproducer_replaces_no_file(lwc: Lwc, clip: str, tmp_path: Path) -> None:
    mine = tmp_path / "out-reproducer-clip.pt2"
    mine.write_text("mine")
    done = lwc("compile", *SMALL, "-o", tmp_path / "out", "--pass", clip)
    assert "out-reproducer-clip-2.pt2" in done.err
    assert mine.read_text() == "mine"


def test_bisect_takes_an_input(lwc: Lwc, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 9, 9), np.float32))
    done = lwc("bisect", *SMALL, "--input", tmp_path / "x.npy")
    assert done.code == 3
    assert "x.npy: holds 1x3x9x9 float32" in done.err.splitlines()[-1]


def test_a_wrong_option_of_a_pass_is_refused_before_the_model_is_loaded(lwc: Lwc, clip: str) -> None:
    done = lwc("bisect", "no_such_model", "--pass", clip.replace(":Clip", ":Clip{bound=low}"))
    assert done.code == 2
    assert "option bound=low is not float" in done.line()


@pytest.mark.parametrize("verb", ["explain", "bisect"])
def test_a_pass_that_is_not_there(lwc: Lwc, verb: str) -> None:
    done = lwc(verb, "no_such_model", "--pass", "fold-pading")
    assert done.code == 2
    assert "did you mean fold-padding?" in done.line()
