"""Standard streams that only lwc writes to: what libraries print below it stays out of the user's sight."""

import logging
import os
import sys
import warnings


def debugging() -> bool:
    """Whether LWC_DEBUG asks for tracebacks and for all that libraries print."""
    return os.environ.get("LWC_DEBUG", "") not in ("", "0")


def claim_streams() -> None:
    """Keep `sys.stdout` and `sys.stderr` for lwc, and give descriptors 1 and 2 to /dev/null.

    LLVM, TVM and the tools that they start write to the descriptors, where no Python setting reaches them.
    """
    _reopen_closed()
    if debugging():
        return
    _silence_libraries()
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # It was closed from the start.
            continue
        stream.flush()
        # A path may hold bytes that are no text: they are escaped, never a UnicodeEncodeError.
        own = open(  # noqa: SIM115 (lives as long as the process)
            os.dup(descriptor), "w", encoding=stream.encoding, errors="backslashreplace"
        )
        own.reconfigure(line_buffering=name == "stderr" or own.isatty())
        setattr(sys, name, own)
        os.dup2(null, descriptor)
    os.close(null)


def discard_stdout() -> None:
    """Forget what could not be written, lest the interpreter tries again, and complains, as it exits."""
    if sys.stdout is None:
        return
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _reopen_closed() -> None:
    """Fill closed descriptors below 3, lest a file that lwc opens gets one and receives stray prints."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)


def _silence_libraries() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")
