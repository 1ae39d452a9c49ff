"""A hook that writes the graph after every pass, numbered, as readable text."""

from pathlib import Path

from lwc.errors import BadInputError
from lwc.graph import readable
from lwc.pipeline import Hook
from lwc.trace import Program


def dump_to(folder: Path) -> Hook:
    """The hook that writes NN_PASS.txt into `folder`, and 00_trace.txt before the first pass.

    Raises BadInputError where `folder` cannot be written.
    """
    _write(folder, None, "")

    def dump(position: int, name: str, before: Program, after: Program) -> None:
        if position == 1:
            _write(folder, "00_trace.txt", readable(before.module.graph))
        _write(folder, f"{position:02d}_{name}.txt", readable(after.module.graph))

    return dump


def _write(folder: Path, name: str | None, text: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if name is not None:
            (folder / name).write_text(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"{folder}: cannot be written ({reason}); choose another --dump-dir") from None
