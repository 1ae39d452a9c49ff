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

    monkeypatch.setattr("lwc.package.execute.run_package", run_package)
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
    monkeypatch.setattr("lwc.package.execute.run_package", lambda *_: (broken,))
    done = lwc("run", package, "--input", sample)
    assert done.code == 5
    assert "'logits' holds NaN" in done.line()


def test_probabilities_of_large_logits_do_not_overflow() -> None:
    first, second = top_classes(np.array([[3e38, -3e38]], np.float32), None, 5)
    assert (first.index, first.probability) == (0, 1.0)
    assert (second.index, second.probability) == (1, 0.0)
