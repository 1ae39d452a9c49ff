"""The rule of agreement: at most twice PyTorch's own float32 error, plus 1e-6; NaN never agrees."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lwc.errors import BadInputError, UnsupportedError, VerificationError
from lwc.package.execute import Runner
from lwc.package.manifest import MANIFEST_NAME, OutputCheck, hash_file, open_package
from lwc.package.verify import (
    check_output,
    require_agreement,
    root_mean_square,
    verify_package,
)
from tests.package.conftest import Edit

Program = Callable[[float], None]


def check(error: float | None) -> OutputCheck:
    return OutputCheck(name="y", rms_error=error, rms_limit=3e-6, rms_float32=1e-6, deviation=1.0)


def test_root_mean_square_is_exact_in_float64() -> None:
    assert root_mean_square(np.array([3.0, 4.0, 0.0, 0.0], np.float32)) == 2.5
    # In float32 the square would be infinite.
    assert root_mean_square(np.array([1e30], np.float32)) == pytest.approx(1e30)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_root_mean_square_of_what_is_not_finite(bad: float) -> None:
    assert np.isnan(root_mean_square(np.array([0.0, bad])))


def test_the_limit_is_twice_the_own_error_and_an_allowance() -> None:
    double = np.array([1.0, -1.0])
    single = (double + 2**-10).astype(np.float32)
    result = check_output("y", single, double, single)
    assert (result.rms_float32, result.rms_error) == (2**-10, 2**-10)
    assert result.rms_limit == 2 * 2**-10 + 1e-6
    assert result.deviation == 1.0
    assert check_output("y", None, double, single).rms_error is None


def test_agreement_ends_at_the_limit() -> None:
    require_agreement([check(0.0), check(3e-6), check(None)], "net")
    for error in (3.0001e-6, 1.0):
        with pytest.raises(VerificationError, match="net: output 'y' differs from PyTorch by"):
            require_agreement([check(0.0), check(error)], "net")


@pytest.mark.parametrize(("error", "limit"), [(np.nan, 1e-6), (0.0, np.nan), (np.nan, np.nan)])
def test_nan_never_agrees(error: float, limit: float) -> None:
    # `strict` models refuse NaN, so the check is made without validation, as `model_copy` does.
    output = check(0.0).model_copy(update={"rms_error": error, "rms_limit": limit})
    with pytest.raises(VerificationError):
        require_agreement([output], "net")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_from_a_library_is_a_disagreement(bad: float) -> None:
    double, actual = np.zeros(3), np.array([0, bad, 0], np.float32)
    with pytest.raises(VerificationError, match="'y': holds NaN or infinity"):
        check_output("y", actual, double, double.astype(np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_model_that_gives_nan_cannot_be_verified(bad: float) -> None:
    double = np.array([bad, 1.0])
    for single in (double.astype(np.float32), np.ones(2, np.float32)):
        with pytest.raises(BadInputError, match="'y': PyTorch gives NaN or infinity"):
            check_output("y", np.ones(2, np.float32), double, single)


def test_another_shape_is_a_disagreement() -> None:
    """Not one that broadcasting hides."""
    double = np.ones((1, 2, 1))
    with pytest.raises(VerificationError, match=r"output 'y': has the shape \(2,\), PyTorch's has \(2, 1\)"):
        check_output("y", np.ones((1, 2), np.float32), double, double.astype(np.float32))


def test_a_model_whose_two_runs_differ_is_no_measure() -> None:
    double = np.array([1.0, -1.0])
    with pytest.raises(UnsupportedError, match=r"'y': PyTorch in .* differ by 0\.02"):
        check_output("y", double.astype(np.float32), double, (1.02 * double).astype(np.float32))


@pytest.fixture
def program_answers(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Replaces the run of lwc-run: all outputs have the given value."""

    def answer(value: float) -> None:
        def run_program(*arguments: object) -> tuple[NDArray[np.float32], ...]:
            return (np.full((1, 3), value, np.float32),)

        monkeypatch.setattr("lwc.package.verify.run_program", run_program)
        monkeypatch.setattr("lwc.package.run.find_runner", lambda target, toolkit: Runner("qemu"))

    return answer


def test_a_package_agrees_with_its_expected_output(package: Path, program_answers: Program) -> None:
    program_answers(1.0)
    verification = verify_package(package)
    assert verification.how == "qemu"
    assert [output.rms_error for output in verification.outputs] == [0.0]


@pytest.mark.parametrize("value", [1.00001, np.nan, np.inf])
def test_a_package_disagrees(package: Path, program_answers: Program, value: float) -> None:
    program_answers(value)
    with pytest.raises(VerificationError, match="output 'logits' differs from PyTorch"):
        verify_package(package)


SAMPLES: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("hello"),
    "empty": lambda path: path.write_bytes(b""),
    "pickle": lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
    "another shape": lambda path: np.save(path, np.zeros((3, 1), np.float32)),
    "float64": lambda path: np.save(path, np.zeros((1, 3))),
    "an archive": lambda path: np.savez(path.open("wb"), a=np.zeros(3, np.float32)),
}


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("name", ["expected_output.npy", "sample_input.npy"])
def test_samples_are_checked_though_their_hashes_are_right(
    package: Path, edit: Edit, program_answers: Program, name: str, kind: str
) -> None:
    program_answers(1.0)
    path = package / name
    SAMPLES[kind](path)
    edit("files", name, to=hash_file(path).model_dump())
    open_package(package)
    with pytest.raises(BadInputError, match=name):
        verify_package(package)


def test_the_limits_of_the_manifest_are_the_ones_that_count(
    package: Path, edit: Edit, program_answers: Program
) -> None:
    program_answers(1.5)
    edit("verification", "outputs", 0, "rms_limit", to=0.5)
    assert verify_package(package).outputs[0].rms_error == 0.5
    assert (
        json.loads((package / MANIFEST_NAME).read_text())["verification"]["outputs"][0]["rms_error"] == 1e-7
    )
