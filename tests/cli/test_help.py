"""`lwc --help` and its like: instant, because no verb is imported."""

import subprocess
import sys

import pytest

from lwc.cli.verbs import VERBS
from tests.cli.conftest import Lwc

HEAVY = {"numpy", "torch", "tvm", "pydantic", "rich", "transformers", "PIL"}
HELP = "import sys; sys.argv = ['lwc', '--help']; from lwc.cli.main import main; main(); print(*sys.modules)"


def test_help_imports_no_verb_and_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    imported = set(done.stdout.rpartition("LWC_DEBUG=1")[2].split())
    assert "lwc.cli.verbs" in imported
    assert not HEAVY & imported
    assert not {f"lwc.cli.{verb}" for verb in VERBS} & imported


def test_help_lists_every_verb_and_every_exit_code(lwc: Lwc) -> None:
    done = lwc("--help")
    assert done.code == 0
    for verb, (_, line) in VERBS.items():
        assert f"  {verb} " in done.out
        assert line in done.out
    for code in (0, 2, 3, 4, 5, 6, 70, 130):
        assert f"\n    {code:<4} " in done.out


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_ends_with_an_example(lwc: Lwc, verb: str) -> None:
    done = lwc(verb, "-h")
    assert done.code == 0
    assert f"\n    lwc {verb}" in done.out.partition("Example")[2]


def test_version(lwc: Lwc) -> None:
    done = lwc("--version")
    assert done.code == 0
    assert done.out.startswith("lwc 0.")
