"""Targets of installed packages: found by their entry points, checked, refused in one line."""

from pathlib import Path

import pytest

from lwc.errors import BadInputError, UsageError
from lwc.targets.resolve import OWN, resolve_target, target_names

BOARD = """
from dataclasses import replace
from lwc.targets.target import Target

BOARD = Target(
    name="my-board", description="a board", triple="aarch64-linux-gnu", cpu="cortex-a55", features=("+neon",),
    cpu_features=("asimd",),
)
"""


def install(folder: Path, points: str, module: str = BOARD, package: str = "my_boards") -> None:
    """What pip leaves of a package with these entry points."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lwc.targets]\n{points}\n")
    (folder / f"{package}.py").write_text(module)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packages are installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_installed_target_is_one_like_any_other(packages: Path) -> None:
    install(packages, "my-board = boards_a:BOARD", package="boards_a")
    assert target_names()[-1] == "my-board"
    target = resolve_target("my-board")
    assert (target.cpu, target.float_lanes) == ("cortex-a55", 4)


def test_a_name_of_lwc_stays_lwcs(packages: Path) -> None:
    install(packages, "arm64 = boards_b:BOARD", package="boards_b")
    assert target_names() == OWN
    assert resolve_target("arm64").cpu == "generic"


def test_two_of_a_name_are_refused(packages: Path) -> None:
    install(packages, "my-board = boards_c:BOARD", package="boards_c")
    install(packages, "my-board = boards_d:BOARD", package="boards_d")
    assert target_names() == (*OWN, "my-board")
    assert resolve_target("arm64").name == "arm64"
    with pytest.raises(BadInputError, match="has the name of a target of boards_"):
        resolve_target("my-board")


def test_an_unknown_name_is_told_the_installed_ones(packages: Path) -> None:
    install(packages, "my-board = boards_e:BOARD", package="boards_e")
    with pytest.raises(UsageError, match="did you mean my-board"):
        resolve_target("my-bord")


WRONG = {
    "raise OSError('no board')": "cannot be imported (OSError: no board)",
    "raise SystemExit(1)": "cannot be imported (SystemExit: 1)",
    "BOARD = 'arm64'": "is a str, not a lwc.targets.target.Target",
    "BOARD = replace(BOARD, name='other')": "calls itself 'other'",
    "raise GeneratorExit('no board')": "cannot be imported (GeneratorExit: no board)",
    "BOARD = replace(BOARD, cores=0)": "cannot be imported (ValueError: its cores is 0, not a whole number",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_no_usable_target_is_refused_in_one_line(packages: Path, line: str) -> None:
    package = f"boards_{abs(hash(line))}"
    install(packages, f"my-board = {package}:BOARD", BOARD + line, package)
    with pytest.raises(BadInputError) as caught:
        resolve_target("my-board")
    message = str(caught.value)
    assert message.startswith(f"target 'my-board' ({package}:BOARD): {WRONG[line]}")
    assert message.endswith("; mend the package, or uninstall it")
    assert "\n" not in message
