"""lwc-trials under sanitizers, with shell scripts in the place of built programs."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lwc.bench.machine import processor
from lwc.tune.job import Job, Ran, Report, Run, parse_report, printed

SOURCE = Path(__file__).parents[2] / "lwc" / "runtime" / "lwc_trials.c"
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-fsanitize=address,undefined")


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled by the system's compiler: zig's has no runtime of the sanitizers."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no gcc or clang on this machine")
    path = tmp_path_factory.mktemp("trials") / "lwc-trials"
    subprocess.run([compiler, *FLAGS, "-o", str(path), str(SOURCE)], check=True, timeout=120)
    return path


def program(folder: Path, script: str) -> Path:
    """A folder whose lwc-run is a shell script."""
    folder.mkdir()
    (folder / "lwc-run").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "lwc-run").chmod(0o755)
    return folder


def report_of(runner: Path, listed: Path, job: Job, *run_with: str) -> Report:
    listed.write_text(job.listed({folder: str(folder) for folder in job.folders}))
    done = subprocess.run([runner, listed, *run_with], capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    return parse_report(done.stdout)


def outcomes(runner: Path, folder: Path, *scripts: str, seconds: float = 20.0) -> list[Ran | None]:
    """What comes of a program for each of `scripts`."""
    runs = [Run(program(folder / str(number), script), ()) for number, script in enumerate(scripts)]
    return list(report_of(runner, folder / "list", Job(runs, 1, seconds)).runs)


def ends(process: int) -> bool:
    """Whether a process ends within ten seconds; a zombie waits for its new parent to look."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        if "\nState:\tZ" in status:
            return True
        time.sleep(0.01)
    return False


def test_runs_have_their_folder_and_their_arguments(runner: Path, tmp_path: Path) -> None:
    runs = [Run(program(tmp_path / name, 'pwd; printf "%s|" "$@"'), ("--x", f"a {name}")) for name in "pq"]
    report = report_of(runner, tmp_path / "list", Job(runs, 1, 20.0))
    assert [printed(run, 20.0) for run in report.runs] == [
        f"{tmp_path}/{name}\n--x|a {name}|" for name in "pq"
    ]
    assert report.cpu


def test_a_command_stands_before_each(runner: Path, tmp_path: Path) -> None:
    runs = [Run(program(tmp_path / "p", 'echo "$IT $1"'), ("x",))]
    report = report_of(runner, tmp_path / "list", Job(runs, 1, 20.0), "env", "IT=there")
    assert [printed(run, 20.0) for run in report.runs] == ["there x\n"]


def test_what_is_printed_comes_back_as_it_was(runner: Path, tmp_path: Path) -> None:
    (found,) = outcomes(runner, tmp_path, r"""printf '"\\\t\001\177\303\244'""")
    assert found is not None
    assert found.printed.encode("latin-1") == b'"\\\t\x01\x7f\xc3\xa4'


def test_the_most_that_is_printed(runner: Path, tmp_path: Path) -> None:
    (found,) = outcomes(runner, tmp_path, "head -c 5000000 /dev/zero | tr '\\0' x")
    assert found is not None
    assert found.printed == "x" * (64 * 1024)
    assert found.code == 0


def test_each_failure_is_a_programs_own(runner: Path, tmp_path: Path) -> None:
    scripts = ("exit 7", "kill -SEGV $$", "while :; do :; done", "exec sleep 100 >&-", "echo right")
    exited, crashed, ran_on, slept, right = outcomes(runner, tmp_path, *scripts, seconds=2.0)
    assert exited == Ran(code=7, signal=0, late=False, printed="")
    assert crashed == Ran(code=0, signal=signal.SIGSEGV, late=False, printed="")
    assert ran_on == Ran(code=0, signal=signal.SIGKILL, late=True, printed="")
    assert slept == Ran(code=0, signal=signal.SIGKILL, late=True, printed="")
    assert right == Ran(code=0, signal=0, late=False, printed="right\n")


def test_memory_and_processor_time_are_limited(runner: Path, tmp_path: Path) -> None:
    (found,) = outcomes(runner, tmp_path, "ulimit -d; ulimit -t", seconds=3.0)
    assert found is not None
    half = os.sysconf("SC_PHYS_PAGES") // 2 * os.sysconf("SC_PAGE_SIZE")
    assert found.printed.split() == [str(min(half, 32 << 30) // 1024), "7"]


def test_what_a_program_started_ends_with_it(runner: Path, tmp_path: Path) -> None:
    script = "sleep 100 & echo $!; echo more"
    (found,) = outcomes(runner, tmp_path, script)
    assert found is not None
    assert ends(int(found.printed.split()[0]))


def test_after_a_failure_the_folder_is_left_alone(runner: Path, tmp_path: Path) -> None:
    failing, sound = program(tmp_path / "f", "echo x >> ran; exit 1"), program(tmp_path / "s", "echo right")
    job = Job([Run(failing, ()), Run(failing, ()), Run(sound, ())], 1, 20.0)
    first, second, third = report_of(runner, tmp_path / "list", job).runs
    assert first is not None
    assert first.code == 1
    assert second is None
    assert third is not None
    assert third.printed == "right\n"
    assert (failing / "ran").read_text() == "x\n"


def test_a_program_that_is_not_there(runner: Path, tmp_path: Path) -> None:
    runs = [Run(tmp_path / "nothing", ())]
    (found,) = report_of(runner, tmp_path / "list", Job(runs, 1, 5.0)).runs
    assert found is not None
    assert found.code == 127


@pytest.mark.parametrize(
    "line", ["", "1\t1", "0\t1\tf", "-1\t1\tf", "x\ty\tf", "1\t0\tf", "1\t1\tf" + "\tx" * 300]
)
def test_a_list_that_is_none(runner: Path, tmp_path: Path, line: str) -> None:
    (tmp_path / "list").write_text(f"{line}\n")
    done = subprocess.run([runner, tmp_path / "list"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr == f"lwc-trials: {tmp_path}/list: has a line that is none of a list's\n"


def test_what_runs_ends_where_nobody_reads_the_answer(runner: Path, tmp_path: Path) -> None:
    """As where the connection to a board breaks."""
    endless = program(tmp_path / "p", "echo $$ > new; mv new process; while :; do :; done")
    (tmp_path / "list").write_text(Job([Run(endless, ())], 1, 100.0).listed({endless: str(endless)}))
    with subprocess.Popen([runner, tmp_path / "list"], stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while not (runs := list(endless.glob("process"))) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.stdout
        process.stdout.close()
        assert process.wait(10) == 3
    assert ends(int(runs[0].read_text()))


def test_a_list_that_is_a_folder(runner: Path, tmp_path: Path) -> None:
    done = subprocess.run([runner, tmp_path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (3, f"lwc-trials: {tmp_path}: cannot be read\n")


def test_the_processor_is_called_what_lwc_calls_it(runner: Path, tmp_path: Path) -> None:
    assert report_of(runner, tmp_path / "list", Job([], 1, 1.0)).cpu == processor()


def test_without_a_list(runner: Path, tmp_path: Path) -> None:
    done = subprocess.run([runner], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: lwc-trials LIST")
    done = subprocess.run([runner, tmp_path / "no"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr == f"lwc-trials: {tmp_path}/no: No such file or directory\n"


def test_what_runs_ends_with_the_tuner(runner: Path, tmp_path: Path) -> None:
    endless = program(tmp_path / "p", "echo $$ > new; mv new process; while :; do :; done")
    job = Job([Run(endless, ())], 1, 100.0)
    (tmp_path / "list").write_text(job.listed({endless: str(endless)}))
    # A tuner that waits for its runner, and is killed.
    tuner = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    with subprocess.Popen([sys.executable, "-c", tuner, runner, tmp_path / "list"]) as process:
        deadline = time.monotonic() + 30
        while not (runs := list(endless.glob("process"))) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    assert ends(int(runs[0].read_text()))
