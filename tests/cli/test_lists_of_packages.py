"""`lwc passes` and `lwc targets` where installed packages are faulty: each has its row, which says what is wrong."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lwc.pipeline import PASSES
from lwc.targets.resolve import OWN
from tests.cli.conftest import Lwc

Offer = Callable[..., None]
OF = {"passes": tuple(PASSES), "targets": OWN}
VERBS = pytest.mark.parametrize("verb", OF)


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Installs a package with these lines for entry points, and a module `{package}_lists` where it has a text."""

    def call(group: str, *lines: str, package: str = "alpha", text: str | None = None) -> None:
        information = tmp_path / f"{package}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text("\n".join((f"[lwc.{group}]", *lines, "")))
        if text is not None:
            (tmp_path / f"{package}_lists.py").write_text(text)

    monkeypatch.syspath_prepend(str(tmp_path))
    return call


def rows(lwc: Lwc, verb: str) -> list[str]:
    """The lines of the installed packages, whose documents say the same."""
    done = lwc(verb)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()[1 + len(OF[verb]) :]
    given = json.loads(lwc(verb, "--json").out)
    documents = given["passes"] if verb == "passes" else given
    assert [document["name"] for document in documents[: len(OF[verb])]] == list(OF[verb])
    for line, document in zip(lines, documents[len(OF[verb]) :], strict=False):
        assert set(document) == {"name", "error"}
        assert line.startswith(document["name"])
        assert document["error"] in line
    return lines[: len(documents) - len(OF[verb])]


@VERBS
def test_a_package_that_cannot_be_imported(lwc: Lwc, offer: Offer, verb: str) -> None:
    offer(verb, "mine = no_such_module:MINE")
    (row,) = rows(lwc, verb)
    assert "(no_such_module:MINE): cannot be imported (ModuleNotFoundError: No module named" in row


@VERBS
def test_packages_that_use_one_name(lwc: Lwc, offer: Offer, verb: str) -> None:
    offer(verb, "mine = no_such_module:MINE")
    offer(verb, "mine = another_module:MINE", package="beta")
    (row,) = rows(lwc, verb)
    assert "no_such_module:MINE" in row
    assert "another_module:MINE" in row
    assert "has the name of a " in row


@VERBS
def test_a_package_that_uses_a_name_of_lwcs(lwc: Lwc, offer: Offer, verb: str) -> None:
    offer(verb, f"{OF[verb][-1]} = no_such_module:MINE")
    (row,) = rows(lwc, verb)
    assert row.startswith(OF[verb][-1])
    assert "(no_such_module:MINE): has the name of a " in row
    assert "of lwc; mend the package, or uninstall it" in row


@VERBS
def test_a_package_whose_entry_points_cannot_be_read(lwc: Lwc, offer: Offer, verb: str) -> None:
    offer(verb, "nonsense")
    (row,) = rows(lwc, verb)
    assert row.startswith("installed packages")
    assert "an entry_points.txt is malformed" in row


NOISY = """
from dataclasses import dataclass, replace
from typing import ClassVar
from lwc.pipeline import Pass
from lwc.targets import arm64

print("noise")
board = replace(arm64.TARGET, name="board")


@dataclass(frozen=True)
class Loud(Pass):
    name: ClassVar[str] = "loud"

    def __post_init__(self):
        print("noise")

    def match(self, program, node):
        print("noise")

    def rewrite(self, program, match):
        pass
"""


@pytest.mark.parametrize(
    "line",
    [
        "passes",
        "targets",
        "explain {net} --target board --pass loud",
        "bisect {net} --target board --pass loud",
    ],
)
def test_what_packages_print_stays_out_of_the_result(
    lwc: Lwc, offer: Offer, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(
        "passes",
        "loud = noisy_lists:Loud",
        "[lwc.targets]",
        "board = noisy_lists:board",
        package="noisy",
        text=NOISY,
    )
    monkeypatch.delitem(sys.modules, "noisy_lists", raising=False)
    net = "mobilenet_v1 --width 0.25 --image-size 32 --weights random"
    done = lwc(*line.format(net=net).split(), "--json")
    assert done.code == 0
    assert "noise" not in done.out
    assert "noise" in done.err
    json.loads(done.out)
