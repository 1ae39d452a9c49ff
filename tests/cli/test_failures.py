"""The error contract: which failure gives which exit code, and what the user sees of it."""

import errno
import sys
from pathlib import Path

import pytest

from lwc import errors
from lwc.cli import failures
from lwc.cli.failures import run_guarded
from tests.cli.conftest import Lwc

PYTHON = f"'{sys.executable}'"

FAILURES = [
    (errors.UsageError("x"), 2),
    (errors.BadInputError("x"), 3),
    (errors.UnsupportedError("x"), 4),
    (errors.VerificationError("x"), 5),
    (errors.ResourceError("x"), 6),
    (MemoryError(), 6),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 6),
    (OSError(errno.ENOSPC, "No space left on device", "file"), 6),
    (OSError(errno.EACCES, "Permission denied", "file"), 70),
    (ValueError("x\ny"), 70),
    (RecursionError("maximum recursion depth exceeded"), 70),
    (KeyboardInterrupt(), 130),
    (errors.Terminated(), 143),
]


def raiser(error: BaseException) -> int:
    def action() -> None:
        raise error

    return run_guarded(action)


@pytest.mark.parametrize(("error", "code"), FAILURES, ids=lambda value: repr(value)[:30])
def test_a_failure_is_one_line_and_its_exit_code(
    error: BaseException, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert raiser(error) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("lwc: ")
    assert err.count("\n") == 1


def test_an_unforeseen_error_is_said_to_be_ours(capsys: pytest.CaptureFixture[str]) -> None:
    raiser(ZeroDivisionError("division by zero"))
    line = capsys.readouterr().err
    assert "internal error" in line
    assert "ZeroDivisionError: division by zero" in line
    assert "LWC_DEBUG=1" in line


def test_a_reader_that_is_gone_is_told_nothing() -> None:
    assert failures.describe(BrokenPipeError(errno.EPIPE, "Broken pipe")) == (141, "")


def test_control_characters_in_a_message_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    raiser(errors.BadInputError("a\x1b[31mb\u202ec\nd"))
    assert capsys.readouterr().err == "lwc: a\\x1b[31mb\\u202ec d\n"


def test_debugging_shows_the_traceback_before_the_line(shell: Lwc) -> None:
    done = shell("lwc run nowhere --input x", LWC_DEBUG="1")
    assert done.code == 3
    assert done.err.startswith("Traceback")
    assert done.err.splitlines()[-1].startswith("lwc: nowhere: does not exist")


def test_a_reader_may_leave_early(shell: Lwc) -> None:
    done = shell("lwc targets | head -1")
    assert done.err == ""
    assert done.out.startswith("name")
    assert shell("lwc targets | true").err == ""
    assert shell("lwc --help | true").err == ""


def test_a_full_disk_below_stdout(shell: Lwc) -> None:
    done = shell("lwc targets > /dev/full")
    assert done.code == 6
    assert "No space left" in done.line()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams(shell: Lwc, closed: str) -> None:
    assert shell(f"lwc targets {closed}").code == 0
    assert shell(f"lwc targets --jsno {closed}").code == 2


def test_a_closed_stdout_does_not_receive_what_goes_to_files(shell: Lwc, sample: Path, package: Path) -> None:
    done = shell(f"lwc run '{package}' --input '{sample}' --output out.npy >&-")
    assert "Traceback" not in done.err
    assert not (package.parent / "out.npy").exists()


def test_interrupt_and_termination(shell: Lwc) -> None:
    # A job that a shell started in the background, as a CI may be, has SIGINT ignored.
    wait = (
        "import os, signal, lwc.cli.main as m; signal.signal(signal.SIGINT, signal.default_int_handler);"
        " m._invoke = lambda a: os.kill(os.getpid(), signal.{}); raise SystemExit(m.main())"
    )
    for name, code in (("SIGINT", 130), ("SIGTERM", 143)):
        program = wait.format(name)
        done = shell(f'PROGRAM="{program}"; {PYTHON} -c "$PROGRAM"')
        assert done.code == code
        done.line()


def test_a_library_may_turn_a_signal_into_an_error_of_its_own(shell: Lwc) -> None:
    """As TVM does with an exception in a function that it calls."""
    program = (
        "import os, signal, lwc.cli.main as m",
        "def invoke(arguments):",
        "    try: os.kill(os.getpid(), signal.SIGTERM)",
        "    except BaseException as error: raise RuntimeError('') from error",
        "m._invoke = invoke",
        "raise SystemExit(m.main())",
    )
    done = shell(f'{PYTHON} -c "$PROGRAM"', PROGRAM="\n".join(program))
    assert (done.code, done.line()) == (143, "lwc: terminated\n")


def test_what_libraries_print_stays_out_of_sight(shell: Lwc) -> None:
    program = (
        "import os, logging, warnings, lwc.cli.main as m;"
        "m._invoke = lambda a: (warnings.warn('noise'), logging.getLogger('torch').error('noise'),"
        " os.write(1, b'noise'), os.write(2, b'noise'), os.system('echo noise'), print('result'));"
        "raise SystemExit(m.main())"
    )
    done = shell(f'{PYTHON} -c "{program}"')
    assert (done.code, done.out, done.err) == (0, "result\n", "")
    assert "noise" in shell(f'{PYTHON} -c "{program}"', LWC_DEBUG="1").err
