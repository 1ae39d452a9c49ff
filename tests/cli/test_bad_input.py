"""Wrong command lines and wrong files: for each, the exit code and what its one line must say."""

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Lwc


@dataclass(frozen=True)
class Case:
    """`arguments` may use {package}, {sample} and {tmp}; `says` is a regular expression for the line."""

    arguments: str
    code: int
    says: str

    def __str__(self) -> str:
        return re.sub(r"\W+", "-", self.arguments) or "nothing"


COMMAND_LINES = [
    Case("", 2, r"Missing command.* Try 'lwc --help'"),
    Case("compil", 2, "Did you mean 'compile'"),
    Case("destroy", 2, "Choose from compile, run"),
    Case("--verson", 2, "--version"),
    Case("compile", 2, r"MODEL.* Try 'lwc compile --help'"),
    Case("compile mobilenet_v1 --taget arm64", 2, "--target"),
    Case("compile mobilenet_v1 extra", 2, "extra"),
    Case("compile mobilenet_v1 --target", 2, "--target"),
    Case("compile mobilenet_v1 --target amr64", 2, r"target 'amr64'.*did you mean arm64"),
    Case("compile mobilenet_v1 --target gpu", 2, "choose from native"),
    Case("compile mobilenet_v1 --target cuda:sm_70", 2, "cuda:sm_70.*choose from cuda:sm_75"),
    Case("compile mobilenet_v1 --target cuda:sm_80,host=mips", 2, "host 'mips'.*choose from x86_64"),
    Case("compile mobilenet_v1 --precision fp16 --target arm64", 2, "'arm64' has no GPU.*cuda:sm_80"),
    Case("tune mobilenet_v1 --target cuda:sm_80", 4, "GPUs have no choices to try yet"),
    Case("compile mobilenet_v1 --target triple=", 2, "triple="),
    Case("compile mobilenet_v1 --target triple=riscv64-linux-gnu", 4, "not supported"),
    Case("compile mobilenet_v1 --target triple=aarch64-linux-gnu,features=sve9", 2, "sve9"),
    Case("compile mobilenet_v1 --width 0", 2, "width 0"),
    Case("compile mobilenet_v1 --width nan", 2, "width nan"),
    Case("compile mobilenet_v1 --width wide", 2, "'--width'.*'wide'"),
    Case("compile mobilenet_v1 --image-size 0", 2, "image size 0"),
    Case("compile mobilenet_v1 --image-size 99999999999", 2, "image size 99999999999"),
    Case("compile mobilenet_v1 --image-size 224.5", 2, "'--image-size'"),
    Case("compile mobilenet_v1 --output-stride 7", 2, "output stride 7.*8, 16 or 32"),
    Case("compile mobilenet_v1 --num-labels -1", 2, "labels -1"),
    Case("compile mobilenet_v1 --batch 0", 2, "batch 0"),
    Case("compile mobilenet_v1 --seed -1", 2, "seed -1"),
    Case("compile mobilenet_v1 --seed 9223372036854775808", 2, "seed 9223372036854775808"),
    Case("compile mobilenet_v1 --threads -1", 2, "'--threads'"),
    Case("compile mobilenet_v1 --threads 257", 2, "'--threads'.*256"),
    Case("compile mobilenet_v1 --output=", 2, "'--output'.*empty"),
    Case("compile mobilenet_v1 --dump-dir=", 2, "'--dump-dir'.*empty"),
    Case("compile mobilenet_v1 --evaluate=", 2, "'--evaluate'.*empty"),
    Case("compile mobilenet_v1 -o pk --dump-dir pk/graphs", 2, "pk/graphs: lies in the package"),
    Case("run {package}", 2, "'--input'"),
    Case("run {package} --input {sample} --top 0", 2, "'--top'"),
    Case("run {package} --input {sample} --threads many", 2, "'--threads'.*many"),
    Case("verify", 2, "PACKAGE"),
    Case("models --jsn", 2, "--json"),
    Case("bench", 2, "MODEL"),
    Case("bench mobilenet_v1 --against tflite", 2, "engine 'tflite': unknown.*litert"),
    Case("bench mobilenet_v1 --against=", 2, "engine '': unknown"),
    Case("bench mobilenet_v1 --against lwc", 2, "engine 'lwc': unknown"),
    Case("bench mobilenet_v1 --rounds 0", 2, "'--rounds'"),
    Case("bench mobilenet_v1 --json=", 2, "'--json'.*empty"),
    Case("profile {package} --plot roof.pdf", 2, r"roof.pdf: ends in neither .png nor .svg"),
    Case("profile {package} --repeat 0", 2, "'--repeat'"),
]

PATHS = [
    Case("run nowhere --input {sample}", 3, "nowhere: does not exist"),
    Case("verify nowhere", 3, "nowhere: does not exist"),
    Case("verify {sample}", 3, "sample.npy: is not a folder"),
    Case("verify {tmp}", 3, r"manifest.json: does not exist"),
    Case("verify {package}/", 3, "does not exist"),
    Case("run {package} --input {tmp}/nothing.npy", 3, "nothing.npy: does not exist"),
    Case("run {package} --input {tmp}", 3, "is not a regular file"),
    Case("run {package} --input /dev/zero", 3, "/dev/zero: is not a regular file"),
    Case("bench mobilenet_v1 --json {tmp}/nowhere/figures.json", 3, "its folder does not exist"),
    Case("bench mobilenet_v1 --json {tmp}", 3, "is a folder"),
    Case("bench unknown_model", 3, "model 'unknown_model': unknown"),
    Case("profile nowhere", 3, "nowhere: does not exist"),
    Case("profile {package} --plot {tmp}/nowhere/roof.svg", 3, "its folder does not exist"),
    Case("run {package} --input {sample} --input {sample}", 3, "--input: given 2 times.*pixels"),
]


@pytest.mark.parametrize("case", [*COMMAND_LINES, *PATHS], ids=str)
def test_one_line_says_what_is_wrong(
    lwc: Lwc, case: Case, package: Path, sample: Path, tmp_path: Path
) -> None:
    words = [word.format(package=package, sample=sample, tmp=tmp_path) for word in case.arguments.split()]
    done = lwc(*words)
    assert done.code == case.code, done.err
    assert re.search(case.says, done.line()), done.err
    assert done.out == ""


def test_names_with_newlines_and_bytes_that_are_no_text(shell: Lwc) -> None:
    assert "a b: does not exist" in shell("lwc verify $'a\\nb'").line()
    assert "\\udcff: does not exist" in shell("lwc verify $'\\xff'").line()
    assert shell("lwc verify $'\\xff'", LC_ALL="C", PYTHONUTF8="0").code == 3


def _pickled(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


def _truncated(path: Path) -> None:
    np.save(path, np.zeros((1, 3, 4, 4), np.float32))
    path.write_bytes(path.read_bytes()[:-1])


def _huge_header(path: Path) -> None:
    header = np.lib.format
    with path.open("wb") as file:
        header.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 60,)})


def _deep_header(path: Path) -> None:
    text = b"(" * 9000
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)


ARRAYS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is no valid .npy file"),
    "text": (lambda path: path.write_text("hello"), "is no valid .npy file"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps([1])), "is no valid .npy file"),
    "pickled objects": (_pickled, "object"),
    "deep header": (_deep_header, "is no valid .npy file"),
    "huge header": (_huge_header, "1x3x4x4 float32"),
    "truncated": (_truncated, "does not hold the 192 bytes"),
    "other shape": (lambda path: np.save(path, np.zeros((1, 4, 4, 3), np.float32)), "1x4x4x3"),
    "batch of two": (lambda path: np.save(path, np.zeros((2, 3, 4, 4), np.float32)), "2x3x4x4"),
    "no shape": (lambda path: np.save(path, np.float32(1)), "scalar float32"),
    "float64": (lambda path: np.save(path, np.zeros((1, 3, 4, 4))), "float64"),
    "big endian": (lambda path: np.save(path, np.zeros((1, 3, 4, 4), ">f4")), ">f4"),
    "NaN": (lambda path: np.save(path, np.full((1, 3, 4, 4), np.nan, np.float32)), "NaN or infinity"),
    "infinity": (lambda path: np.save(path, np.full((1, 3, 4, 4), np.inf, np.float32)), "NaN or infinity"),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_that_the_package_does_not_take(lwc: Lwc, package: Path, tmp_path: Path, kind: str) -> None:
    write, says = ARRAYS[kind]
    path = tmp_path / "bad.npy"
    write(path)
    done = lwc("run", package, "--input", path)
    assert done.code == 3
    assert re.search(f"bad.npy: .*{says}", done.line()), done.err


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + b"\0" * 64])
def test_a_file_that_is_no_image(lwc: Lwc, package: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    done = lwc("run", package, "--input", path)
    assert done.code == 3
    assert "bad.jpg" in done.line()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema_version": 2}', '{"a": 1, "a": 1}', "[" * 100_000]
)
def test_a_manifest_that_is_none(lwc: Lwc, package: Path, sample: Path, text: str) -> None:
    (package / "manifest.json").write_text(text)
    for arguments in (("verify", package), ("run", package, "--input", sample)):
        done = lwc(*arguments)
        assert done.code == 3
        assert "manifest.json" in done.line()
