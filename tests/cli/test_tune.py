"""`lwc tune`: what it asks of the tuner, and what becomes of the answer."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lwc.compile_request import CompileRequest
from lwc.errors import Terminated, UnsupportedError
from lwc.models.request import ModelRequest
from lwc.reporter import Reporter
from lwc.rewriting import PassOptions
from lwc.targets.resolve import resolve_target
from lwc.tune.effort import EFFORTS, Effort
from lwc.tune.progress import Search
from lwc.tuning import HERE, Places, Tuned
from tests.cli.conftest import Lwc
from tests.cli.searches import TUNED

UNCHECKED = PassOptions(verify=False)


Asked = list[tuple[CompileRequest, Effort, Path, str | None]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the tuner was asked for; it prints, as a factory may, and gives made-up results."""
    seen: Asked = []

    def tune_model(
        request: CompileRequest,
        effort: Effort,
        path: Path,
        reporter: Reporter,
        watch: Callable[[Sequence[Search]], None],
        places: Places,
    ) -> Tuned:
        assert places.devices == HERE.devices
        seen.append((request, effort, path, places.builders))
        print("printed by a factory")
        with reporter.stage("tune"):
            watch(TUNED.searches)
        return TUNED

    monkeypatch.setattr("lwc.tuning.tune_model", tune_model)
    return seen


# What it asks for.


def test_without_options_everything_is_at_its_default(lwc: Lwc, asked: Asked, store_path: Path) -> None:
    assert lwc("tune", "mobilenet_v1").code == 0
    request = CompileRequest(ModelRequest("mobilenet_v1"), passes=UNCHECKED)
    assert asked == [(request, EFFORTS["normal"], store_path, None)]


def test_every_option_reaches_the_tuner(lwc: Lwc, asked: Asked, store_path: Path) -> None:
    line = (
        "tune mobilenet_v1 --target arm64 --width 0.5 --image-size 96 --output-stride 16 --num-labels 7 --batch 2"
        " --weights random --seed 3 --passes fold-padding --dump-dir dump --threads 4 --pass a.py:A --pass b"
        " --prune 0.25 --precision int8 --calibrate images --observer mse --trials 35"
        " --builders tcp://10.0.0.5:8786"
    )
    assert lwc(*line.split()).code == 0
    model = ModelRequest("mobilenet_v1", 0.5, 96, 16, 7, 2, "random", 3)
    passes = PassOptions("fold-padding", ("a.py:A", "b"), None, False, Path("dump"), 0.25)
    request = CompileRequest(
        model, "arm64", None, passes, 4, precision="int8", calibrate="images", observer="mse"
    )
    assert asked == [(request, Effort(35), store_path, "tcp://10.0.0.5:8786")]


QUICK = EFFORTS["quick"]
LIMITS = {
    "--effort quick": QUICK,
    "--effort full": EFFORTS["full"],
    "--trials 1": Effort(1),
    "--trials 14 --time 90": Effort(14, 90.0),
    "--effort full --time 1h": Effort(EFFORTS["full"].trials, 3600.0),
    "--effort quick --time 1.5m": Effort(QUICK.trials, 90.0),
    "--effort quick --time 1h": QUICK,
    "--time 10m": Effort(1_000_000, 600.0),
    "--time 0.5s": Effort(1_000_000, 0.5),
}


@pytest.mark.usefixtures("store_path")
@pytest.mark.parametrize("words", LIMITS)
def test_how_much_is_tried(lwc: Lwc, asked: Asked, words: str) -> None:
    assert lwc("tune", "mobilenet_v1", *words.split()).code == 0
    assert [effort for _, effort, _, _ in asked] == [LIMITS[words]]


WRONG = {
    "--time 0": "'--time': '0' is not above 0",
    "--time 5x": "'--time': '5x' is not a time such as 90s",
    "--time=-5s": "'-5s' is not a time",
    "--time nan": "'nan' is not a time",
    "--time 1e3": "'1e3' is not a time",
    "--time 8000000000h": "'8000000000h' is not a time|at most a week",
    "--time 999999999h": "at most a week",
    "--time=": "'' is not a time",
    "--time ٣m": "is not a time",
    "--trials 0": "'--trials': 0 is not in the range",
    "--trials many": "'--trials': 'many'",
    "--effort lots": "'--effort': 'lots'.*quick.*normal.*full",
    "--effort quick --trials 5": "--effort and --trials: .*give one of the two",
    "--resume=yes": "--resume",
    "--run-with nice": "--run-with: .*give --device, too",
    "--device board": "--device 'board': is none of the forms ssh://USER@HOST:PORT and rpc://HOST:PORT/KEY",
    "--device ssh://a --device ssh://b --device ssh://a": "ssh://a: is given more than once",
    "--device rpc://board": "'rpc://board': is no address of a tracker",
    "--device rpc://board:9190/key --run-with nice": "--run-with: is for devices over ssh",
    "--device ssh://board --run-with '": '--run-with "\'": is no command',
    "--plot search.pdf": "ends in neither .png nor .svg",
    "--threads 1000": "'--threads'",
    "--target toaster": "'toaster': unknown",
    "--precision int8": "--calibrate a folder",
    "--prune 2": "prune 2.0: out of range",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_asked_wrongly(lwc: Lwc, asked: Asked, store_path: Path, words: str) -> None:
    done = lwc("tune", "mobilenet_v1", *words.split())
    assert done.code == 2, done.err
    assert re.search(WRONG[words], done.line()), done.err
    assert (done.out, asked) == ("", [])
    assert not store_path.exists()


@pytest.mark.usefixtures("store_path")
def test_a_folder_that_is_called_like_a_subcommand(lwc: Lwc, asked: Asked) -> None:
    assert lwc("tune", "./status", "--trials", "7").code == 0
    assert [request.model.model for request, _, _, _ in asked] == ["./status"]


def test_a_store_that_is_a_folder(lwc: Lwc, store_path: Path) -> None:
    store_path.mkdir()
    done = lwc("tune", "mobilenet_v1", "--width", "0.25", "--image-size", "32", "--weights", "random")
    assert done.code == 3
    assert "tuning.sqlite: is not a regular file; set LWC_TUNING_STORE" in done.err.splitlines()[-1]
    assert list(store_path.iterdir()) == []


def test_a_target_that_does_not_run_here(lwc: Lwc, store_path: Path) -> None:
    other = "arm64" if resolve_target("native").architecture == "x86_64" else "x86-64-v3"
    done = lwc("tune", "mobilenet_v1", "--target", other, "--weights", "random")
    assert done.code == UnsupportedError.exit_code
    assert f"{other!r}: its kernels cannot be timed on this machine" in done.err.splitlines()[-1]
    assert not store_path.exists()


# What becomes of the answer.


@pytest.mark.usefixtures("asked", "store_path")
def test_the_result_goes_to_stdout_and_all_else_to_stderr(lwc: Lwc) -> None:
    done = lwc("tune", "mobilenet_v1")
    assert done.out.startswith("kernel ")
    assert "1000.0 us -> 960.0 us, ratio 0.96" in done.out
    assert [line.split()[0] for line in done.err.splitlines()] == ["printed", "tune"]


@pytest.mark.usefixtures("asked")
def test_json_is_one_document(lwc: Lwc, store_path: Path) -> None:
    document = json.loads(lwc("tune", "mobilenet_v1", "--effort", "quick", "--json").out)
    assert (document["model"], document["store"]) == ("mobilenet_v1", str(store_path))
    assert (document["trials"], document["seconds"]) == (QUICK.trials, QUICK.seconds)


@pytest.mark.usefixtures("asked", "store_path")
@pytest.mark.parametrize(("name", "magic"), [("search.svg", b"<?xml"), ("search.PNG", b"\x89PNG")])
def test_a_plot(lwc: Lwc, name: str, magic: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = lwc("tune", "mobilenet_v1", "--plot", tmp_path / name)
    assert done.code == 0, done.err
    content = (tmp_path / name).read_bytes()
    assert content.startswith(magic)
    if name.endswith("svg"):
        assert "<!-- gemm head -->" in content.decode()


@pytest.mark.usefixtures("store_path")
@pytest.mark.parametrize(
    ("stop", "code", "says"), [(KeyboardInterrupt, 130, "interrupted"), (Terminated, 143, "terminated")]
)
def test_who_stops_it_hears_that_nothing_is_lost(
    lwc: Lwc, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException], code: int, says: str
) -> None:
    def tune_model(*arguments: object) -> Tuned:
        raise stop

    monkeypatch.setattr("lwc.tuning.tune_model", tune_model)
    done = lwc("tune", "mobilenet_v1")
    kept = "what was measured is kept, and the same command goes on from there"
    assert (done.code, done.out, done.line()) == (code, "", f"lwc: {says}; {kept}\n")
