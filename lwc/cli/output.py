"""What verbs write to stdout: plain text in columns, or one JSON document."""

import json
from collections.abc import Sequence
from typing import Any


def emit(text: str) -> None:
    """Write `text` and a newline to stdout."""
    print(text, flush=True)


def emit_json(value: Any) -> None:
    """Write `value` to stdout as an indented JSON document."""
    emit(json.dumps(value, indent=2, allow_nan=False))


def printable(text: str) -> str:
    """`text` on one line, control characters escaped: names come from files that may be hostile."""
    folded = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in folded)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Aligned columns, two spaces apart; those named in `right` end at the same place.

    Never wrapped or cut, so that `grep` and `awk` work on it.
    """
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [
        [c.rjust(w) if name in right else c.ljust(w) for c, w, name in zip(row, widths, header, strict=True)]
        for row in cells
    ]
    return "\n".join("  ".join(row).rstrip() for row in aligned)
