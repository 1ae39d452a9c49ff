"""`lwc explain` and `lwc bisect`: what passes do to a model, and which of them is wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lwc.pipeline import DEFAULT
from tests.cli.conftest import Lwc

SMALL = ("mobilenet_v1", "--width", "0.25", "--image-size", "32", "--weights", "random")


def test_explain_shows_each_candidate_of_each_pass(lwc: Lwc) -> None:
    done = lwc("explain", *SMALL)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["position", "pass", "node", "what", "why"]
    assert list(dict.fromkeys(line.split()[1] for line in lines[1:-3])) == list(dict.fromkeys(DEFAULT))
    assert sum(line.split()[1:4:2] == ["fuse-activation", "rewritten"] for line in lines[1:-3]) == 27
    assert re.fullmatch(r"\d+ rewritten, 0 refused", lines[-2])


def test_explain_shows_what_the_passes_make_of_the_memory(lwc: Lwc) -> None:
    line = lwc("explain", *SMALL, "--pass", "fold-padding").out.splitlines()[-1]
    assert re.fullmatch(r"activations take \S+ kB at \w+ before all passes, \S+ kB at \w+ after them", line)
    memory = json.loads(lwc("explain", *SMALL, "--json").out)["most_memory"]
    # What the second convolution and the third, which are one operator, read and give.
    assert memory["after"] == {"bytes": 4 * (8 + 16) * 16 * 16, "node": "separable_conv2d_default"}
    # A padding copies the 16 channels, with a border.
    assert memory["before"] == {"bytes": 4 * 16 * (16 * 16 + 17 * 17), "node": "pad_3"}


def test_explain_of_one_pass(lwc: Lwc) -> None:
    done = lwc("explain", *SMALL, "--pass", "fold-batch-norm")
    assert done.out.splitlines()[-2] == "27 rewritten, 0 refused"
    assert "fold-padding" not in done.out


def test_explain_adds_a_pass_of_the_users_and_shows_it_alone(lwc: Lwc, clip: str) -> None:
    document = json.loads(lwc("explain", *SMALL, "--pass", clip, "--json").out)
    (entry,) = document["passes"]
    assert entry["name"] == "clip"
    assert entry["position"] == DEFAULT.index("fuse-activation") + 2
    assert entry["rewritten"]
    assert all(node.endswith("7") for node in entry["rewritten"])
    assert {refusal["reason"] for refusal in entry["refused"]} == {"its name does not end in 7"}


def test_explain_of_a_pass_at_a_place_of_its_own(lwc: Lwc) -> None:
    done = lwc("explain", *SMALL, "--pass", "fold-batch-norm,after=raise-operators", "--json")
    entries = json.loads(done.out)["passes"]
    assert {entry["name"] for entry in entries} == {"fold-batch-norm"}
    assert sum(len(entry["rewritten"]) for entry in entries) == 27


def test_explain_adds_a_pass_once(lwc: Lwc, clip: str) -> None:
    spec = clip.partition(",")[0]
    document = json.loads(lwc("explain", *SMALL, "--passes", f"default,{spec}", "--pass", spec, "--json").out)
    assert [entry["name"] for entry in document["passes"]] == ["clip"]


def test_explain_says_what_pruning_does(lwc: Lwc) -> None:
    options = ("--target", "x86-64-v3", "--prune", "0.5", "--pass", "zero-channels")
    document = json.loads(lwc("explain", *SMALL, *options, "--json").out)
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
    assert lines[-2] == "13 rewritten, 0 refused"
    assert all(re.search(r" rewritten +\w+, of padded \d+, .* thousand cycles", line) for line in lines[1:-3])
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
    assert done.out.splitlines()[-2].startswith("60 rewritten")


NOT_A_NUMBER = """\
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        return x.relu() / 0 * 0

def make():
    return Net(), (torch.ones(1, 4),)
"""


def test_bisect_says_nothing_of_passes_where_it_can_compare_nothing(
    lwc: Lwc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net_without_numbers.py").write_text(NOT_A_NUMBER)
    monkeypatch.chdir(tmp_path)
    done = lwc("bisect", "net_without_numbers:make", "--json")
    assert (done.code, done.out) == (4, "")
    assert "no output can be compared" in done.err.splitlines()[-1]


def test_bisect_of_right_passes(lwc: Lwc) -> None:
    done = lwc("bisect", *SMALL)
    assert done.code == 0
    assert done.out.splitlines()[-1] == "every pass keeps what the model gives"
    document = json.loads(lwc("bisect", *SMALL, "--json").out)
    assert (document["agrees"], document["compared_outputs"]) == (True, 1)
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
