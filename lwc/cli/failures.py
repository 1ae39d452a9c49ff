"""The error contract: every failure becomes one line on stderr and a documented exit code."""

import errno
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

import click

from lwc.cli.output import printable
from lwc.cli.streams import debugging, discard_stdout
from lwc.errors import LwcError, ResourceError, Terminated, UsageError

INTERNAL = 70
INTERRUPTED = 128 + signal.SIGINT
READER_GONE = 128 + signal.SIGPIPE
TERMINATED = 128 + signal.SIGTERM

_EXHAUSTED = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_INTERNAL_LINE_LIMIT = 300


def catch_signals() -> Sequence[BaseException]:
    """From now on SIGINT and SIGTERM raise; what they raised is also kept in the list that is returned."""
    received: list[BaseException] = []

    def handler(kind: type[BaseException]) -> Callable[[int, FrameType | None], NoReturn]:
        def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
            received.append(kind())
            raise received[-1]

        return stop

    signal.signal(signal.SIGTERM, handler(Terminated))
    # A shell's background job has SIGINT ignored, and keeps it so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, handler(KeyboardInterrupt))
    return received


def run_guarded(action: Callable[[], None], signals: Sequence[BaseException] = ()) -> int:
    """Runs `action` and returns the exit code. A failure is one line; LWC_DEBUG adds the traceback.

    Where `signals` holds something when `action` fails, that is why: a library that calls back into Python
    may have turned it into an error of its own.
    """
    try:
        action()
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as request:
        return request.exit_code
    except BaseException as error:
        if isinstance(error, OSError):
            discard_stdout()
        if debugging():
            traceback.print_exception(error)
        code, message = describe(signals[-1] if signals else error)
        if message:
            _tell(f"lwc: {printable(message)}\n")
        return code
    return 0


def describe(error: BaseException) -> tuple[int, str]:
    """The exit code and the message for `error`; no message where nobody is left to read it."""
    match error:
        case LwcError():
            return error.exit_code, str(error)
        case click.ClickException():
            return UsageError.exit_code, _usage_message(error)
        case KeyboardInterrupt() | click.Abort():
            return INTERRUPTED, _with_notes("interrupted", error)
        case Terminated():
            return TERMINATED, _with_notes("terminated", error)
        # Who read our output has closed it, as `head` does.
        case BrokenPipeError():
            return READER_GONE, ""
    return _unforeseen(error)


def _with_notes(message: str, error: BaseException) -> str:
    return "; ".join((message, *getattr(error, "__notes__", ())))


def _unforeseen(error: BaseException) -> tuple[int, str]:
    if _out_of_memory(error):
        return ResourceError.exit_code, "out of memory; free some, or compile a smaller model, image or batch"
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        return (
            ResourceError.exit_code,
            f"{error.filename or 'output'}: {error.strerror}; free some and try again",
        )
    text = f"{type(error).__name__}: {error}"[:_INTERNAL_LINE_LIMIT]
    return INTERNAL, f"internal error, a fault of lwc itself: {text}; set LWC_DEBUG=1 to see the traceback"


def _usage_message(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    verb = context.command_path if context else "lwc"
    message = error.format_message()
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} Try '{verb} --help'."


def _out_of_memory(error: BaseException) -> bool:
    # PyTorch's allocator raises a plain RuntimeError.
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _tell(line: str) -> None:
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except OSError:
        return  # Nobody is left to be told; the exit code says it.
