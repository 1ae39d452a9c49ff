"""A package in the hands of a C programmer: example.c, and lwc-run."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import lwc
from lwc.package.execute import find_runner
from lwc.package.manifest import read_manifest
from tests.compiled.support import Array, require_runner, require_tool

pytestmark = pytest.mark.slow

INPUT_BYTES = 4 * 3 * 128 * 128


@pytest.fixture
def raw(tmp_path: Path, image: Array) -> Path:
    """The sample input as lwc-run takes it."""
    path = tmp_path / "input.raw"
    path.write_bytes(image.tobytes())
    return path


def lwc_run(
    package: Path, *arguments: str | Path | int, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    target = read_manifest(package).target
    require_runner(target.name)
    command = [*find_runner(target).command, str(package / "lwc-run"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd)


def test_the_example_compiles_with_the_line_in_its_comment_and_runs(native: Path, tmp_path: Path) -> None:
    require_tool("cc")
    source = (native / "example.c").read_text()
    (line,) = re.findall(r"^ \* +(cc .*)$", source, re.MULTILINE)
    command = line.replace("-o example ", f"-Wall -Wextra -Werror -o {tmp_path}/example ")
    subprocess.run(command.replace("$ORIGIN", str(native)), shell=True, check=True, cwd=native, timeout=60)
    done = subprocess.run([tmp_path / "example"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    # The same made-up input through Python.
    values = (np.arange(INPUT_BYTES // 4, dtype=np.float32) % 255) / np.float32(127.5) - np.float32(1)
    logits = lwc.load(native)(values.reshape(1, 3, 128, 128))[0]
    assert done.stdout == f"largest of logits: index {logits.argmax()}, value {logits.max():g}\n"


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_lwc_run_gives_the_bits_that_python_gets(
    native: Path, raw: Path, tmp_path: Path, image: Array, threads: int
) -> None:
    done = lwc_run(native, "--input", raw, "--output", tmp_path / "out", "--threads", threads)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "out").read_bytes() == lwc.load(native, threads)(image).tobytes()


def test_lwc_run_under_emulation(arm64: Path, raw: Path, tmp_path: Path) -> None:
    done = lwc_run(arm64, "--input", raw, "--output", tmp_path / "out", "--repeat", 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["repeat"] == 1
    given = np.frombuffer((tmp_path / "out").read_bytes(), np.float32)
    expected = np.load(arm64 / "expected_output.npy").astype(np.float64).reshape(-1)
    limit = read_manifest(arm64).verification.outputs[0].rms_limit
    assert np.sqrt(np.mean((given - expected) ** 2)) <= limit


def test_repeat_measures(native: Path, raw: Path) -> None:
    done = lwc_run(native, "--input", raw, "--repeat", 5, "--threads", 2)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["repeat"], found["threads"]) == (5, 2)
    assert 0 < found["min_ms"] <= found["median_ms"] <= found["p90_ms"]
    assert found["min_ms"] <= found["mean_ms"]


def test_profile_has_a_time_for_each_call(native: Path, raw: Path) -> None:
    done = lwc_run(native, "--profile", "--input", raw, "--repeat", 5, "--threads", 1)
    assert done.returncode == 0, done.stderr
    latency, calls = map(json.loads, done.stdout.splitlines())
    assert len(calls["calls_ns"]) == len(read_manifest(native).calls)
    assert min(calls["calls_ns"]) > 0
    assert sum(calls["calls_ns"]) * 1e-6 < 10 * latency["median_ms"]


@pytest.mark.parametrize("error", [0.0, 0.25, np.inf])
def test_expected_says_how_far_the_output_is_from_it(
    native: Path, raw: Path, tmp_path: Path, image: Array, error: float
) -> None:
    expected = lwc.load(native)(image).astype(np.float64)
    expected[..., ::2] += 2 * error
    (tmp_path / "expected").write_bytes(expected.tobytes())
    done = lwc_run(native, "--input", raw, "--expected", tmp_path / "expected")
    assert (done.returncode, done.stderr) == (0, "")
    (found,) = json.loads(done.stdout)["rms_errors"]
    moved = (expected.size + 1) // 2
    wanted = None if np.isinf(error) else pytest.approx(2 * error * (moved / expected.size) ** 0.5)
    assert found == wanted


def test_a_latency_that_cannot_be_printed(native: Path, raw: Path) -> None:
    command = f"'{native}/lwc-run' --input '{raw}' --repeat 1 > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 6
    assert done.stderr == "lwc-run: the latency cannot be printed (No space left on device)\n"


def test_help(native: Path) -> None:
    for option in ("--help", "-h"):
        done = lwc_run(native, option)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: lwc-run --input FILE")


# {i}: the input, {o}: an output, {t}: a folder.
WRONG = [
    ("", 2, "the model has 1 inputs, --input was given 0 times"),
    ("--input", 2, "'--input': unknown, or without its value"),
    ("--inptu {i}", 2, "option '--inptu': unknown"),
    ("{i}", 2, "unknown, or without its value"),
    ("--input {i}", 2, "the model has 1 outputs, --output was given 0 times"),
    ("--input {i} --input {i} --output {o}", 2, "--input was given 2 times"),
    ("--input {i} --output {o} --output {o}", 2, "--output was given 2 times"),
    ("--input {i} --output {o} --output {o} --repeat 2", 2, "--output was given 2 times"),
    ("--input {i} --output {o} --repeat -1", 2, "--repeat '-1': give a number from 0 to 1000000"),
    ("--input {i} --output {o} --repeat 1e3", 2, "--repeat '1e3'"),
    ("--input {i} --output {o} --repeat 1000001", 2, "--repeat '1000001'"),
    ("--input {i} --output {o} --repeat 99999999999999999999", 2, "--repeat '99999999999999999999'"),
    ("--input {i} --expected {i} --expected {i}", 2, "--expected was given 2 times"),
    ("--input {i} --expected {t}/empty", 3, "has fewer than the 8008 bytes of output 'logits'"),
    ("--input {i} --expected {t}/nothing", 3, "nothing: cannot be read (No such file or directory)"),
    ("--input {i} --output {o} --profile", 2, "--profile: give --repeat N"),
    ("--input {i} --output {o} --threads 257", 2, "--threads '257': give a number from 0 to 256"),
    ("--input {i} --output {o} --threads many", 2, "--threads 'many'"),
    (" ".join(["--input {i}"] * 65), 2, "--input: given more than 64 times"),
    ("--input {t}/nothing --output {o}", 3, "nothing: cannot be read (No such file or directory)"),
    ("--input {t} --output {o}", 3, "cannot be read"),
    ("--input {t}/short --output {o}", 3, f"has fewer than the {INPUT_BYTES} bytes of input 'image'"),
    ("--input {t}/long --output {o}", 3, f"has more than the {INPUT_BYTES} bytes of input 'image'"),
    ("--input {t}/empty --output {o}", 3, "has fewer than"),
    ("--input {t}/nan --output {o}", 3, "input 'image' holds NaN or infinity"),
    ("--input {i} --output {t}/no/where", 3, "where: cannot be written (No such file or directory)"),
    ("--input {i} --output {t}", 3, "cannot be written (Is a directory)"),
    ("--input {i} --output {t}/full", 6, "full: cannot be written (No space left on device)"),
]


@pytest.mark.parametrize(("line", "code", "says"), WRONG)
def test_wrong_use_gives_one_line_and_its_exit_code(
    native: Path, raw: Path, tmp_path: Path, line: str, code: int, says: str
) -> None:
    content = raw.read_bytes()
    (tmp_path / "short").write_bytes(content[:-1])
    (tmp_path / "long").write_bytes(content + b"\0")
    (tmp_path / "empty").touch()
    (tmp_path / "full").symlink_to("/dev/full")
    (tmp_path / "nan").write_bytes(np.full(INPUT_BYTES // 4, np.nan, np.float32).tobytes())
    words = [word.format(i=raw, o=tmp_path / "out", t=tmp_path) for word in line.split()]
    done = lwc_run(native, *words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("lwc-run: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_written_whole_is_removed(native: Path, raw: Path, tmp_path: Path) -> None:
    # Files end after 1 KiB; without the signal that would end the program, as on a full disk.
    command = f"trap '' XFSZ; ulimit -f 1; '{native}/lwc-run' --input '{raw}' --output '{tmp_path}/out'"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 6
    assert done.stderr == f"lwc-run: {tmp_path}/out: cannot be written (File too large)\n"
    assert not (tmp_path / "out").exists()


def test_a_device_that_cannot_be_written_is_not_removed(native: Path, raw: Path, tmp_path: Path) -> None:
    """As root it could be."""
    (tmp_path / "full").symlink_to("/dev/full")
    assert lwc_run(native, "--input", raw, "--output", tmp_path / "full").returncode == 6
    assert (tmp_path / "full").is_symlink()


def test_it_finds_its_library_from_any_folder(native: Path, raw: Path, tmp_path: Path) -> None:
    done = lwc_run(native, "--input", raw.name, "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").stat().st_size == 4 * 1001
