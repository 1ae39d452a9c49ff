"""`lwc compile`: what it asks of the driver and what it tells the user."""

import json
import re
from pathlib import Path

import pytest

from lwc.driver import CompileRequest, CompileResult, Reporter
from lwc.errors import VerificationError
from lwc.models.request import ModelRequest
from lwc.rewriting import PassOptions
from tests.cli.conftest import Lwc, make_manifest

SMALL = ("mobilenet_v1", "--width", "0.25", "--image-size", "64", "--weights", "random")


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[CompileRequest]:
    """What the driver was asked for; it warns, prints as a factory may, and gives a made-up package."""
    seen: list[CompileRequest] = []

    def compile_package(request: CompileRequest, reporter: Reporter) -> CompileResult:
        seen.append(request)
        print("printed by a factory")
        with reporter.stage("trace"):
            reporter.warn("weights are random")
        return CompileResult(Path("tiny-arm64"), make_manifest(), {"trace": 1.25})

    monkeypatch.setattr("lwc.driver.compile_package", compile_package)
    return seen


def test_without_options_everything_is_at_its_default(lwc: Lwc, requests: list[CompileRequest]) -> None:
    assert lwc("compile", "mobilenet_v1").code == 0
    assert requests == [CompileRequest(ModelRequest("mobilenet_v1"))]


def test_every_option_reaches_the_driver(lwc: Lwc, requests: list[CompileRequest]) -> None:
    line = (
        "compile mobilenet_v1 --target arm64 -o out --width 0.5 --image-size 96 --output-stride 16"
        " --num-labels 7 --batch 2 --weights random --seed 3 --passes fold-padding --dump-dir dump"
        " --threads 4 --pass a.py:A --pass b --pass-limit 7 --no-verify-passes"
    )
    assert lwc(*line.split()).code == 0
    model = ModelRequest("mobilenet_v1", 0.5, 96, 16, 7, 2, "random", 3)
    passes = PassOptions("fold-padding", ("a.py:A", "b"), 7, False, Path("dump"))
    assert requests == [CompileRequest(model, "arm64", Path("out"), passes, 4)]


@pytest.mark.usefixtures("requests")
def test_the_summary_says_what_came_out(lwc: Lwc) -> None:
    done = lwc("compile", "mobilenet_v1")
    facts = dict(line.split("  ", 1) for line in done.out.splitlines() if "  " in line.strip())
    assert facts["package"].strip() == "tiny-arm64"
    assert facts["target"].strip().startswith("arm64 (")
    assert facts["parameters"].strip() == "4.23 M"
    assert facts["MACs"].strip() == "1.50 M"
    assert facts["library size"].strip() == "12.3 kB"
    assert "error 2e-07, limit 1.5e-06" in facts["verification"]
    assert "under qemu" in facts["verification"]
    assert "lwc run tiny-arm64 --input IMAGE" in done.out


@pytest.mark.usefixtures("requests")
def test_progress_and_warnings_go_to_stderr(lwc: Lwc) -> None:
    done = lwc("compile", "mobilenet_v1")
    assert "warning: weights are random\n" in done.err
    assert [line.split()[0] for line in done.err.splitlines()] == ["printed", "warning:", "trace"]


@pytest.mark.usefixtures("requests")
def test_json_is_one_document(lwc: Lwc) -> None:
    document = json.loads(lwc("compile", "mobilenet_v1", "--json").out)
    assert document["package"] == "tiny-arm64"
    assert document["weights"] == "random"
    assert document["seconds"] == {"trace": 1.25}
    assert document["verification"]["outputs"][0]["rms_error"] == 2e-7


def test_a_failure_in_the_driver_is_its_one_line(lwc: Lwc, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_package(request: CompileRequest, reporter: Reporter) -> CompileResult:
        raise VerificationError("mobilenet_v1: differs")

    monkeypatch.setattr("lwc.driver.compile_package", compile_package)
    done = lwc("compile", "mobilenet_v1", "--json")
    assert (done.code, done.out, done.line()) == (5, "", "lwc: mobilenet_v1: differs\n")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("mobilenet_v11", 3, "mobilenet_v1"),
        ("nowhere.pt2", 3, "nowhere.pt2"),
        ("nowhere:factory", 3, "nowhere"),
        ("mobilenet_v1 --passes fold-paddin", 2, "did you mean fold-padding"),
        ("mobilenet_v1 --passes fold-constants{max=1}", 2, r"max.elements"),
        ("mobilenet_v1 --passes fold-constants{", 2, "malformed"),
        ("mobilenet_v1 -o foreign", 3, "'mine', which lwc did not write"),
        ("mobilenet_v1 -o file", 3, "file"),
    ],
)
def test_what_the_driver_refuses_leaves_nothing_behind(
    lwc: Lwc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, code: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "mine").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    done = lwc("compile", *arguments.split())
    assert done.code == code, done.err
    assert re.search(says, done.line()), done.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_compile_run_and_verify_a_small_model(shell: Lwc, tmp_path: Path) -> None:
    done = shell(f"lwc compile {' '.join(SMALL)} -o small --json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["package"] == "small"
    stages = [line.split()[0] for line in done.err.splitlines()]
    assert stages == ["load", "trace", "passes", "lower", "build", "link", "verify"]

    done = shell("lwc verify small")
    assert done.code == 0, done.err
    assert done.out.splitlines()[1].split()[-1] == "native"

    done = shell("lwc run small --input small/sample_input.npy --output out.npy --json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["outputs"][0]["top"]) == 5
    assert (tmp_path / "out.npy").is_file()

    (tmp_path / "small" / "expected_output.npy").write_bytes(b"\0")
    done = shell("lwc verify small")
    assert done.code == 5
    assert "expected_output.npy" in done.line()
