"""A hook that writes the graph after every pass, numbered: as readable text, and as a drawing for Graphviz."""

import re
from pathlib import Path

from lwc.errors import BadInputError
from lwc.graph import readable
from lwc.graph_view import module_regions, to_dot
from lwc.pipeline import Hook, Step
from lwc.trace import Program

_NAME = re.compile(r"\d\d+_[a-z0-9-]+")
_FIRST = "00_trace"


def dump_to(folder: Path) -> Hook:
    """The hook that writes NN_PASS.txt and NN_PASS.dot into `folder`, and 00_trace before the first pass.

    Such files of an earlier run go first: where there is a 00_trace, those in pairs. Raises BadInputError where
    `folder` cannot be written.
    """
    _write(folder, {})
    for path in _earlier(folder):
        path.unlink()

    def dump(step: Step) -> None:
        if step.position == 1:
            _write(folder, _drawn(_FIRST, step.before))
        _write(folder, _drawn(f"{step.position:02d}_{step.item.name}", step.after))

    return dump


def _earlier(folder: Path) -> list[Path]:
    """What an earlier run wrote: a file of another kind only looks alike."""
    pairs = [(path, path.with_suffix(".txt")) for path in folder.glob("*.dot") if _NAME.fullmatch(path.stem)]
    pairs = [pair for pair in pairs if all(path.is_file() for path in pair)]
    return [path for pair in pairs for path in pair] if any(dot.stem == _FIRST for dot, _ in pairs) else []


def _drawn(stem: str, program: Program) -> dict[str, str]:
    """The text of each file, by its name."""
    dot = to_dot(program, module_regions(program))
    return {f"{stem}.txt": readable(program.module.graph), f"{stem}.dot": dot}


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"{folder}: cannot be written ({reason}); choose another --dump-dir") from None
