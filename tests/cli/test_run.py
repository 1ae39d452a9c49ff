"""`lwc run`, with the execution of the package replaced."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lwc.cli.report import top_classes
from lwc.package.manifest import MANIFEST_NAME, dump_manifest
from tests.cli.conftest import Lwc, make_manifest

LOGITS = np.array([[1.0, 3.0, 2.0]], np.float32)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[NDArray[np.float32], ...]]:
    """The inputs that the package was run with; it answers LOGITS."""
    calls: list[tuple[NDArray[np.float32], ...]] = []

    def run_package(
        package: Path, inputs: tuple[NDArray[np.float32], ...], threads: int = 0
    ) -> tuple[NDArray[np.float32], ...]:
        calls.append(inputs)
        return (LOGITS,)

    monkeypatch.setattr("lwc.package.run.run_package", run_package)
    return calls


@pytest.mark.usefixtures("executed")
def test_the_likeliest_classes_come_first(lwc: Lwc, package: Path, sample: Path) -> None:
    done = lwc("run", package, "--input", sample, "--top", "2")
    assert done.code == 0
    assert [line.split() for line in done.out.splitlines()] == [
        ["class", "label", "logit", "probability"],
        ["1", "dog", "3.0000", "0.6652"],
        ["2", "owl", "2.0000", "0.2447"],
    ]
    assert done.err == "warning: the package has random weights: what it says means nothing\n"


@pytest.mark.usefixtures("executed")
def test_json_is_one_document(lwc: Lwc, package: Path, sample: Path) -> None:
    document = json.loads(lwc("run", package, "--input", sample, "--json").out)
    (output,) = document["outputs"]
    assert [guess["index"] for guess in output["top"]] == [1, 2, 0]
    assert sum(guess["probability"] for guess in output["top"]) == pytest.approx(1)


@pytest.mark.usefixtures("executed")
def test_outputs_that_are_no_classes_give_their_range(lwc: Lwc, package: Path, sample: Path) -> None:
    (package / MANIFEST_NAME).write_text(dump_manifest(make_manifest(layout="dims")))
    done = lwc("run", package, "--input", sample)
    assert [line.split() for line in done.out.splitlines()] == [
        ["output", "shape", "minimum", "maximum", "mean"],
        ["logits", "1x3", "1", "3", "2"],
    ]


def test_an_image_goes_through_the_preprocessing(
    lwc: Lwc, package: Path, tmp_path: Path, executed: list[tuple[NDArray[np.float32], ...]]
) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(path)
    assert lwc("run", package, "--input", path).code == 0
    ((array,),) = executed
    assert array.shape == (1, 3, 4, 4)
    assert array[0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]


def test_column_major_arrays_are_read_in_their_order(
    lwc: Lwc, package: Path, tmp_path: Path, executed: list[tuple[NDArray[np.float32], ...]]
) -> None:
    values = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)
    np.save(tmp_path / "f.npy", np.asfortranarray(values))
    assert lwc("run", package, "--input", tmp_path / "f.npy").code == 0
    assert np.array_equal(executed[0][0], values)


@pytest.mark.usefixtures("executed")
def test_output_is_written_and_nothing_beside_it(
    lwc: Lwc, package: Path, sample: Path, tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    target = tmp_path / "out.npy"
    assert lwc("run", package, "--input", sample, "--output", target).code == 0
    assert np.array_equal(np.load(target), LOGITS)
    assert set(tmp_path.iterdir()) == before | {target}


# A package of integers.

STEPS = {"dtype": "uint8", "scale": 0.5, "zero_point": 3}


@pytest.fixture
def integers(package: Path, monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.uint8]]:
    """The package takes and gives integers; the inputs that it was run with."""
    manifest = make_manifest()
    inputs, outputs = (
        tuple(i.model_copy(update=STEPS) for i in t) for t in (manifest.inputs, manifest.outputs)
    )
    text = dump_manifest(manifest.model_copy(update={"inputs": inputs, "outputs": outputs}))
    (package / MANIFEST_NAME).write_text(text)
    calls: list[NDArray[np.uint8]] = []

    def run_package(package: Path, inputs: tuple[NDArray[np.uint8], ...], threads: int = 0) -> object:
        calls.extend(inputs)
        return (np.array([[5, 9, 7]], np.uint8),)

    monkeypatch.setattr("lwc.package.run.run_package", run_package)
    return calls


def test_real_numbers_become_integers_and_back(
    lwc: Lwc, package: Path, tmp_path: Path, integers: list[NDArray[np.uint8]]
) -> None:
    values = np.resize(np.array([-9, 0, 0.25, 0.75, 1, 200], np.float32), (1, 3, 4, 4))
    np.save(tmp_path / "real.npy", values)
    done = lwc("run", package, "--input", tmp_path / "real.npy", "--output", tmp_path / "out.npy", "--json")
    assert done.code == 0, done.err
    (array,) = integers
    assert array.dtype == np.uint8
    assert array.flatten()[:6].tolist() == [0, 3, 3, 5, 5, 255]
    (output,) = json.loads(done.out)["outputs"]
    assert STEPS.items() <= output.items()
    assert [(guess["index"], guess["logit"]) for guess in output["top"]] == [(1, 3.0), (2, 2.0), (0, 1.0)]
    assert np.load(tmp_path / "out.npy").tolist() == [[5, 9, 7]]


def test_an_image_becomes_integers(
    lwc: Lwc, package: Path, tmp_path: Path, integers: list[NDArray[np.uint8]]
) -> None:
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    assert lwc("run", package, "--input", tmp_path / "red.png").code == 0
    assert integers[0][0, :, 0, 0].tolist() == [5, 3, 3]


def test_integers_are_taken_as_they_are(
    lwc: Lwc, package: Path, tmp_path: Path, integers: list[NDArray[np.uint8]]
) -> None:
    values = np.arange(48, dtype=np.uint8).reshape(1, 3, 4, 4)
    np.save(tmp_path / "integers.npy", np.asfortranarray(values))
    assert lwc("run", package, "--input", tmp_path / "integers.npy").code == 0
    assert np.array_equal(integers[0], values)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "float64"])
def test_integers_of_another_type(
    lwc: Lwc, package: Path, tmp_path: Path, integers: list[NDArray[np.uint8]], dtype: str
) -> None:
    np.save(tmp_path / "other.npy", np.zeros((1, 3, 4, 4), dtype))
    done = lwc("run", package, "--input", tmp_path / "other.npy")
    assert done.code == 3
    assert f"holds 1x3x4x4 {dtype}, input 'pixels' differs; give" in done.line()
    assert "1x3x4x4 float32, or of uint8 (NCHW)" in done.line()
    assert integers == []


def test_integers_for_a_package_of_float32(lwc: Lwc, package: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "integers.npy", np.zeros((1, 3, 4, 4), np.uint8))
    done = lwc("run", package, "--input", tmp_path / "integers.npy")
    assert done.code == 3
    assert "holds 1x3x4x4 uint8" in done.line()


@pytest.mark.usefixtures("executed")
@pytest.mark.parametrize("place", ["nowhere/out.npy", ".", "/dev/null", "n" * 300, "sample.npy/out.npy"])
def test_output_that_cannot_be_written(
    lwc: Lwc, package: Path, sample: Path, tmp_path: Path, place: str
) -> None:
    before = set(tmp_path.iterdir())
    done = lwc("run", package, "--input", sample, "--output", tmp_path / place)
    assert done.code == 3
    assert "--output" in done.line()
    assert set(tmp_path.iterdir()) == before
    assert not Path("/dev/null").is_file()


def test_an_output_that_is_not_finite_is_no_result(
    lwc: Lwc, package: Path, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = np.full((1, 3), np.nan, np.float32)
    monkeypatch.setattr("lwc.package.run.run_package", lambda *_: (broken,))
    done = lwc("run", package, "--input", sample)
    assert done.code == 5
    assert "'logits' holds NaN" in done.line()


def test_probabilities_of_large_logits_do_not_overflow() -> None:
    first, second = top_classes(np.array([[3e38, -3e38]], np.float32), None, 5)
    assert (first.index, first.probability) == (0, 1.0)
    assert (second.index, second.probability) == (1, 0.0)
