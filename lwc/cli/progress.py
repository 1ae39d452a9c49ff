"""Progress by stage on stderr: live on a terminal, a line a stage elsewhere."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, NoReturn

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from lwc.cli.output import printable
from lwc.cli.units import short_seconds


class PlainConsole(Console):
    """Writes text to stderr (or `file`) as it is: no markup, no colours of its own, no wrapping."""

    def __init__(self, file: IO[str] | None = None, terminal: bool | None = None) -> None:
        super().__init__(
            stderr=True,
            file=file,
            force_terminal=terminal,
            markup=False,
            highlight=False,
            emoji=False,
            soft_wrap=True,
        )

    def on_broken_pipe(self) -> NoReturn:
        """Left to the error contract, as for stdout."""
        raise BrokenPipeError


class StageReporter:
    """Shows each stage of a compilation while it runs, then how long it took. A `lwc.reporter.Reporter`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: tuple[Progress, str] | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Covers one stage; one that fails leaves no line, since the error's own line follows."""
        start = time.perf_counter()
        with self.live(name):
            yield
        self._console.print(f"{name:<8} {short_seconds(time.perf_counter() - start):>8}")

    def warn(self, message: str) -> None:
        """Says at once, and in colour where there is any, what the user must not overlook."""
        self._console.print(Text(f"warning: {printable(message)}", style="bold yellow"))

    def note(self, text: str) -> None:
        """Adds `text` to the name of what is shown live."""
        if self._shown is not None:
            progress, name = self._shown
            progress.update(progress.task_ids[0], description=f"{name}: {text}")

    def live(self, name: str) -> AbstractContextManager[object]:
        """Shows `name` while the block runs, on a terminal only; leaves no line."""
        if not self._console.is_terminal:
            return nullcontext()
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        progress = Progress(*columns, console=self._console, transient=True)
        progress.add_task(name, total=None)
        self._shown = (progress, name)
        return progress
