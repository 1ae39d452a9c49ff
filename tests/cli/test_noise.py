"""What is said of INT8: in the summary of `lwc compile`, and by `lwc noise`."""

import json
import re
from pathlib import Path

import pytest

from lwc.compile_request import CompileRequest
from lwc.driver import CompileResult
from lwc.package.manifest import MANIFEST_NAME, dump_manifest
from lwc.package.quantization import AccuracyBudget, Fallback, LayerNoise, Quantization
from lwc.reporter import Reporter
from tests.cli.conftest import Lwc, make_manifest

BUDGET = AccuracyBudget(
    budget=0.01,
    integer_drop=0.025,
    drop=0.005,
    fallbacks=(
        Fallback(layer="stem", reason="accuracy", output_db=21.54, integer_us=20.0, float_us=22.5),
        Fallback(layer="block.1", reason="speed", output_db=None, integer_us=57.3, float_us=41.1),
    ),
    integer_run_us=280.0,
    run_us=252.0,
)
INT8 = Quantization(
    calibration="100 images",
    integer_layers=28,
    float_layers=2,
    signal_to_noise_db=(24.04,),
    noise_samples=8,
    layers=(
        LayerNoise(layer="block.2", own_db=40.06, accumulated_db=25.5),
        LayerNoise(layer="block.3", own_db=None, accumulated_db=None),
        LayerNoise(layer="block.4", own_db=35.7, accumulated_db=20.0),
        LayerNoise(layer="block.5", own_db=43.2, accumulated_db=19.5),
        LayerNoise(layer="head", own_db=43.1, accumulated_db=24.0),
    ),
    accuracy_budget=BUDGET,
)


def write(folder: Path, quantization: Quantization | None) -> Path:
    """A package's folder with its manifest."""
    folder.mkdir()
    manifest = make_manifest().model_copy(update={"quantization": quantization})
    (folder / MANIFEST_NAME).write_text(dump_manifest(manifest))
    return folder


def facts(lwc: Lwc, monkeypatch: pytest.MonkeyPatch, found: Quantization) -> list[str]:
    """The lines of the summary, without their columns."""
    manifest = make_manifest().model_copy(update={"quantization": found})

    def compile_package(request: CompileRequest, reporter: Reporter) -> CompileResult:
        assert request.accuracy_budget == 0.01
        return CompileResult(Path("tiny"), manifest, {})

    monkeypatch.setattr("lwc.driver.compile_package", compile_package)
    words = "--precision int8 --calibrate synthetic --evaluate images --accuracy-budget 0.01"
    done = lwc("compile", "mobilenet_v1", *words.split())
    assert done.code == 0, done.err
    document = json.loads(lwc("compile", "mobilenet_v1", *words.split(), "--json").out)
    assert document["quantization"] == found.model_dump(mode="json")
    return [" ".join(line.split()) for line in done.out.splitlines()]


def test_the_summary_says_where_the_noise_is(lwc: Lwc, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = facts(lwc, monkeypatch, INT8)
    says = "28 layers on integers, 2 in float32; calibrated on 100 images; signal to noise 24.0 dB"
    assert f"int8 {says}" in lines
    assert "most noise block.4 35.7 dB, block.2 40.1 dB, head 43.1 dB; all layers: `lwc noise`" in lines


def test_the_summary_says_what_went_back_to_float_and_what_it_costs(
    lwc: Lwc, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = facts(lwc, monkeypatch, INT8)
    says = "top-1 falls by 0.005 of at most 0.01; with all layers on integers by 0.025"
    assert f"budget {says}" in lines
    says = "22.5 us, on integers 20.0 us; output with it alone rounded: 21.5 dB"
    assert f"in float32 stem for accuracy: {says}" in lines
    says = "41.1 us, on integers 57.3 us; output with it alone rounded: exact"
    assert f"in float32 block.1 for speed: {says}" in lines
    assert "a run 252.0 us, with all layers on integers 280.0 us (-10%)" in lines


def test_what_was_not_measured_is_not_told(lwc: Lwc, monkeypatch: pytest.MonkeyPatch) -> None:
    untimed = BUDGET.fallbacks[0].model_copy(update={"integer_us": None, "float_us": None})
    budget = BUDGET.model_copy(update={"fallbacks": (untimed,), "integer_run_us": None, "run_us": None})
    lines = facts(lwc, monkeypatch, INT8.model_copy(update={"accuracy_budget": budget}))
    (line,) = (line for line in lines if line.startswith("in float32"))
    assert "its time is not known: the target is not this machine" in line
    assert not any(line.startswith("a run") for line in lines)


def test_no_layer_for_it(lwc: Lwc, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = BUDGET.model_copy(update={"fallbacks": ()})
    lines = facts(lwc, monkeypatch, INT8.model_copy(update={"accuracy_budget": budget}))
    assert "in float32 no layer for it" in lines


# lwc noise.


def test_every_layer_is_listed(lwc: Lwc, tmp_path: Path) -> None:
    done = lwc("noise", write(tmp_path / "tiny", INT8))
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines == [
        "layer own accumulated",
        "block.2 40.1 dB 25.5 dB",
        "block.3 exact exact",
        "block.4 35.7 dB 20.0 dB",
        "block.5 43.2 dB 19.5 dB",
        "head 43.1 dB 24.0 dB",
        "",
        "measured on 8 samples of 100 images; the model's outputs: 24.0 dB",
    ]


def test_json_has_all_of_it(lwc: Lwc, tmp_path: Path) -> None:
    package = write(tmp_path / "tiny", INT8)
    document = json.loads(lwc("noise", package, "--json").out)
    assert document == {"package": str(package), **INT8.model_dump(mode="json")}


@pytest.mark.parametrize(("name", "magic"), [("noise.svg", b"<?xml"), ("noise.PNG", b"\x89PNG")])
def test_a_plot(lwc: Lwc, name: str, magic: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = lwc("noise", write(tmp_path / "tiny", INT8), "--plot", tmp_path / name)
    assert done.code == 0, done.err
    content = (tmp_path / name).read_bytes()
    assert content.startswith(magic)
    if name.endswith("svg"):
        # Matplotlib writes a text as a comment beside its shapes.
        assert all(re.search(rf"<!-- {layer.layer} -->", content.decode()) for layer in INT8.layers)


OLDER = INT8.model_copy(update={"layers": ()})
PROBLEMS: dict[str, tuple[Quantization | None, str, int, str]] = {
    "float32": (None, "", 3, "tiny: is not in INT8; compile it with --precision int8"),
    "older": (OLDER, "", 3, "tiny: its manifest has no noise by layer; compile it again"),
    "other picture": (INT8, "noise.pdf", 2, "noise.pdf: ends in neither .png nor .svg"),
    "no folder": (INT8, "nowhere/noise.png", 3, "noise.png: its folder does not exist"),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_what_cannot_be_shown(lwc: Lwc, kind: str, tmp_path: Path) -> None:
    found, plot, code, says = PROBLEMS[kind]
    package = write(tmp_path / "tiny", found)
    done = lwc("noise", package, *(["--plot", tmp_path / plot] if plot else []))
    assert done.code == code
    assert says in done.line()
    assert done.out == ""
    assert list(tmp_path.iterdir()) == [package]


def test_without_matplotlib_it_says_what_to_install(
    lwc: Lwc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lwc.cli.plots.find_spec", lambda name: None)
    done = lwc("noise", write(tmp_path / "tiny", INT8), "--plot", tmp_path / "noise.png")
    assert (done.code, done.line()) == (
        2,
        "lwc: --plot: matplotlib is not installed; `pip install 'lwc[bench]'`\n",
    )


def test_a_package_of_before_is_still_read(lwc: Lwc, package: Path) -> None:
    """Its manifest says nothing of noise by layer or of a budget."""
    old = INT8.model_dump(mode="json", exclude={"noise_samples", "layers", "accuracy_budget"})
    path = package / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization": old}))
    assert "its manifest has no noise by layer" in lwc("noise", package).line()
