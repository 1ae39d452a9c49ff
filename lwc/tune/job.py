"""What a device is asked to do: runs of built programs, one after another; and what it says of them.

`lwc-trials` does them there. Its answer may come from a broken device, so it is checked like a file from outside.
"""

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from lwc.package.frozen import Frozen
from lwc.package.manifest import PROGRAM_NAME
from lwc.tune.trials import Refusal

RUNNER = "lwc-trials"
LIST = "list"
MAX_WORD = 255
# What of a program's folder its runs need.
_NEEDED = re.compile(rf"{PROGRAM_NAME}|lib\w+\.so|(input|expected)_\d+_\d+", re.ASCII)


def sample_file(kind: str, sample: int, index: int) -> str:
    """The name of the file with the `index`-th "input" of a sample, or what is "expected" of that output."""
    return f"{kind}_{sample}_{index}"


@dataclass(frozen=True)
class Run:
    """One run of the `lwc-run` in `folder`, with `arguments`, which name files there."""

    folder: Path
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """`runs`, each on `threads` and ended after `seconds`; one that fails is the last of its folder."""

    runs: Sequence[Run]
    threads: int
    seconds: float

    @property
    def most_seconds(self) -> float:
        """That it may take at most."""
        return self.seconds * len(self.runs) + 60

    def listed(self, place: Mapping[Path, str]) -> str:
        """The text of the runner's list, each folder called by its name in `place`."""
        processor_seconds = int(self.seconds * 2 * self.threads) + 1
        lines = [
            (f"{self.seconds:g}", str(processor_seconds), place[run.folder], *run.arguments)
            for run in self.runs
        ]
        return "".join("\t".join(line) + "\n" for line in lines)

    def packed(self, runner: Path) -> bytes:
        """A tar archive of all that a device needs: the runner, its list, and a folder for each program."""
        place = {folder: f"{number:04d}" for number, folder in enumerate(self.folders)}
        with io.BytesIO() as stream:
            with tarfile.open(fileobj=stream, mode="w") as archive:
                archive.add(runner, RUNNER, filter=nobodys)
                add_text(archive, LIST, self.listed(place))
                for folder, name in place.items():
                    for path in needed_files(folder):
                        archive.add(path, f"{name}/{path.name}", filter=nobodys)
            return stream.getvalue()

    @property
    def folders(self) -> list[Path]:
        """The programs' folders, each once."""
        return list(dict.fromkeys(run.folder for run in self.runs))


def is_needed(name: str) -> bool:
    """Whether a file of a program's folder that is called `name` is one that its runs need."""
    return _NEEDED.fullmatch(name) is not None


def needed_files(folder: Path) -> list[Path]:
    """What of a program's folder its runs need."""
    return sorted(path for path in folder.iterdir() if is_needed(path.name))


def nobodys(described: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same without whose the file is here, which means nothing elsewhere."""
    # A deep copy would hold the whole archive.
    return described.replace(uid=0, gid=0, uname="", gname="", mtime=0, deep=False)


def add_text(archive: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    """Adds a file to an archive."""
    content = text.encode()
    described = tarfile.TarInfo(name)
    described.size, described.mode = len(content), mode
    archive.addfile(described, io.BytesIO(content))


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("is not a line of text")
    return text


class Ran(Frozen):
    """How a run ended, and what it printed."""

    code: Annotated[int, Field(ge=0, le=255)]
    signal: Annotated[int, Field(ge=0, le=255)]
    late: bool
    printed: str


class Report(Frozen):
    """What a device says of a job: the runs, None for one that was left out; and of itself while it did it.

    `cpu`: its processor as its system names it. `governor`: of its clock, empty where there is none. `throttled`: it
    was slowed down against heat.
    """

    runs: tuple[Ran | None, ...]
    cpu: Annotated[str, Field(min_length=1, max_length=MAX_WORD), AfterValidator(_printable)]
    governor: Annotated[str, Field(max_length=MAX_WORD), AfterValidator(_printable)]
    throttled: bool

    @property
    def condition(self) -> str:
        """What may have changed the times, in words; empty where nothing is known to."""
        slow = [f"governor {self.governor}"] if self.governor not in ("", "performance") else []
        return ", ".join([*slow, "throttled"] if self.throttled else slow)


def parse_report(text: bytes | str) -> Report:
    """The report that `lwc-trials` printed. Raises ValueError, on one line, where it is none."""
    try:
        return Report.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"its answer is no report ({error.errors()[0]['msg']})") from None


def printed(run: Ran | None, seconds: float) -> str | Refusal:
    """What a run printed, or how it failed; `seconds` were its limit."""
    if run is None:
        return Refusal("was not run, since one before it failed")
    if run.late:
        return Refusal(f"did not end within {seconds:.0f} s")
    if run.signal:
        return Refusal(f"ended by signal {run.signal}")
    return Refusal(f"ended with exit code {run.code}") if run.code else run.printed
