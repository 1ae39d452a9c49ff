"""Processes that are found again, whoever their parent is by now: they inherit a mark in their environment."""

import time
from contextlib import suppress
from pathlib import Path

MARK = "LWC_TEST_MARK"


def marked(mark: str, word: str = "") -> list[str]:
    """The command lines of all processes that have `mark`, and `word` in them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # It may have ended meanwhile, or be another user's.
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text(errors="replace").replace("\0", " "))
    return [line for line in found if word in line]


def left_of(mark: str, word: str = "", seconds: float = 20.0) -> list[str]:
    """Those that do not end within `seconds`."""
    deadline = time.monotonic() + seconds
    while (found := marked(mark, word)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
