"""`lwc compile`: what it asks of the driver and what it tells the user."""

import json
import re
from pathlib import Path

import pytest

from lwc.compile_request import CompileRequest
from lwc.driver import CompileResult
from lwc.errors import VerificationError
from lwc.models.evaluate import Accuracy
from lwc.models.request import ModelRequest
from lwc.package.manifest import PassEntry
from lwc.package.pruning import LayerCounts, Pruning
from lwc.prepare import Evaluation
from lwc.reporter import Reporter
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
        " --threads 4 --pass a.py:A --pass b --no-verify-passes --prune 0.25 --evaluate images --tune none"
    )
    assert lwc(*line.split()).code == 0
    model = ModelRequest("mobilenet_v1", 0.5, 96, 16, 7, 2, "random", 3)
    passes = PassOptions("fold-padding", ("a.py:A", "b"), None, False, Path("dump"), 0.25)
    wanted = CompileRequest(model, "arm64", Path("out"), passes, 4, Path("images"), tune="none")
    assert requests == [wanted]


def test_a_limit_of_rewrites_reaches_the_driver(lwc: Lwc, requests: list[CompileRequest]) -> None:
    assert lwc("compile", "mobilenet_v1", "--pass-limit", "7").code == 0
    assert [request.passes.limit for request in requests] == [7]


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


PRUNING = Pruning(
    fraction=0.3,
    before=LayerCounts(channels=100, parameters=4_000_000, macs=2_000_000),
    after=LayerCounts(channels=75, parameters=3_000_000, macs=1_500_000),
)


@pytest.fixture
def pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver gives a made-up package that was pruned, and its accuracy."""
    entries = (
        PassEntry(name="fold-padding", count=1, refusals=2),
        PassEntry(name="zero-channels", count=5, refusals=3),
    )
    manifest = make_manifest().model_copy(update={"pruning": PRUNING, "passes": entries})
    evaluation = Evaluation(Accuracy(200, 132, 170, 200), Accuracy(200, 34, None, 50))

    def compile_package(request: CompileRequest, reporter: Reporter) -> CompileResult:
        return CompileResult(Path("tiny-arm64"), manifest, {}, evaluation)

    monkeypatch.setattr("lwc.driver.compile_package", compile_package)


@pytest.mark.usefixtures("pruned")
def test_the_summary_says_what_was_pruned_and_what_it_costs(lwc: Lwc) -> None:
    done = lwc("compile", "mobilenet_v1", "--prune", "0.3", "--evaluate", "images")
    facts = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "pruned 5 of 8 groups of channels, at most 0.3 of each" in facts
    assert "channels 100 -> 75, 25% less" in facts
    assert "parameters 4.00 M -> 3.00 M, 25% less" in facts
    assert "MACs 2.00 M -> 1.50 M, 25% less" in facts
    (top1,) = (fact for fact in facts if fact.startswith("top-1"))
    original, pruned = "original 66.0% (95 %: 59.2% to 72.2%)", "pruned 17.0% (95 %: 12.4% to 22.8%)"
    assert top1 == f"top-1 {original}; {pruned}; 200 images"
    (top5,) = (fact for fact in facts if fact.startswith("top-5"))
    assert top5 == "top-5 original 85.0% (95 %: 79.4% to 89.3%); 200 images"
    (agreement,) = (fact for fact in facts if fact.startswith("agreement"))
    says = "agreement pruned 25.0% (95 %: 19.5% to 31.4%): the same likeliest class as the original"
    assert agreement == says


@pytest.mark.usefixtures("pruned")
def test_json_says_what_was_pruned_and_what_it_costs(lwc: Lwc) -> None:
    document = json.loads(lwc("compile", "mobilenet_v1", "--json").out)
    assert document["pruning"]["fraction"] == 0.3
    assert document["pruning"]["after"] == {"channels": 75, "parameters": 3_000_000, "macs": 1_500_000}
    assert (document["pruning"]["pruned_groups"], document["pruning"]["other_groups"]) == (5, 3)
    assert document["evaluation"]["images"] == 200
    assert document["evaluation"]["original"]["top1"] == 0.66
    assert document["evaluation"]["pruned"]["top1_interval"] == pytest.approx([0.124, 0.228], abs=1e-3)
    assert document["evaluation"]["pruned"]["top5"] is None
    assert document["evaluation"]["pruned"]["agreement"] == 0.25


@pytest.mark.usefixtures("requests")
def test_without_pruning_nothing_is_said_of_it(lwc: Lwc) -> None:
    done = lwc("compile", "mobilenet_v1")
    assert "pruned" not in done.out
    assert "top-1" not in done.out
    document = json.loads(lwc("compile", "mobilenet_v1", "--json").out)
    assert document["pruning"] is None
    assert document["evaluation"] is None


def test_the_summary_says_how_many_kernels_are_tuned(lwc: Lwc, monkeypatch: pytest.MonkeyPatch) -> None:
    for layers in ((), ("stem", "head", "head")):
        manifest = make_manifest().model_copy(update={"tuned_layers": layers})
        result = CompileResult(Path("tiny"), manifest, {})
        monkeypatch.setattr("lwc.driver.compile_package", lambda request, reporter, result=result: result)
        lines = [" ".join(line.split()) for line in lwc("compile", "mobilenet_v1").out.splitlines()]
        assert ("tuned kernels 3 layers" in lines) == bool(layers)
        document = json.loads(lwc("compile", "mobilenet_v1", "--json").out)
        assert document["tuned_layers"] == list(layers)


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
        ("mobilenet_v1 --prune half", 2, "'half' is not a valid float"),
        ("mobilenet_v1 --prune 1", 2, "prune 1.0: out of range"),
        ("mobilenet_v1 --prune -0.5", 2, "prune -0.5: out of range"),
        ("mobilenet_v1 --prune nan", 2, "prune nan: out of range"),
        ("mobilenet_v1 --prune 0.5 --passes default,-prune-channels", 2, "needs the pass 'prune-channels'"),
        ("mobilenet_v1 --tune always", 2, "'--tune'.*'always'.*records.*none.*quick"),
        ("mobilenet_v1 --evaluate nowhere", 3, "nowhere: does not exist"),
        ("mobilenet_v1 --evaluate foreign", 3, "labels.csv: does not exist"),
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
