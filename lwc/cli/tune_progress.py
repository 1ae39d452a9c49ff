"""How far a search for faster kernels is: a live table on a terminal, a line now and then elsewhere."""

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lwc.cli.output import printable
from lwc.cli.progress import StageReporter
from lwc.cli.tune_report import first_layer
from lwc.profile.peak import Peak
from lwc.tune.progress import Search, how_far

_STAGE = "tune"
# Seconds between two lines where nobody watches.
_PAUSE = 10.0
_HEADER = ("kernel", "layers", "first layer", "trials", "planned us", "best", "GFLOP/s", "of peak", "gain us")
_TEXTS = ("kernel", "first layer")


class TuneReporter(StageReporter):
    """A StageReporter that shows each kernel's search while the stage `tune` runs.

    `seconds`: how long the search may take; `peak`: what the machine can do at most, as far as they are known.
    """

    def __init__(self, console: Console, seconds: float | None, peak: Peak | None) -> None:
        super().__init__(console)
        self._seconds, self._peak = seconds, peak
        self._start = self._told = time.monotonic()
        # Made when a batch is over: the display has a thread of its own, and the searches change.
        self._rows: list[tuple[str, ...]] = []
        self._how_far = ""

    def live(self, name: str) -> AbstractContextManager[object]:
        """Shows the table where `name` is the search's stage."""
        if name != _STAGE:
            return super().live(name)
        self._start = self._told = time.monotonic()
        if not self._console.is_terminal:
            return nullcontext()
        return Live(console=self._console, get_renderable=self._table, refresh_per_second=2, transient=True)

    def watch(self, searches: Sequence[Search]) -> None:
        """Told of all searches after each batch of trials."""
        self._how_far = how_far(searches)
        if self._console.is_terminal:
            self._rows = [_row(search, self._peak) for search in sorted(searches, key=_share, reverse=True)]
        elif time.monotonic() - self._told >= _PAUSE:
            self._told = time.monotonic()
            self._console.print(self._line())

    def _line(self) -> str:
        limit = "" if self._seconds is None else f" of {_clock(self._seconds)}"
        return f"{_STAGE:<8} {self._how_far}, {_clock(time.monotonic() - self._start)}{limit}"

    def _table(self) -> Table:
        # Only the beginning is shown of a table that is higher than the terminal, so the sum stands first.
        table = Table(title=self._line(), title_justify="left", title_style="bold", box=None, pad_edge=False)
        for name in _HEADER:
            table.add_column(name, justify="left" if name in _TEXTS else "right", no_wrap=True)
        for row in self._rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        return table


def _share(search: Search) -> float:
    """Microseconds in the whole model; what is not known yet comes last."""
    return 0.0 if math.isinf(search.planned) else search.planned * len(search.task.layers)


def _row(search: Search, peak: Peak | None) -> tuple[str, ...]:
    head = (search.task.kind, str(len(search.task.layers)), first_layer(search), str(len(search.trials)))
    if math.isinf(search.planned):
        return (*head, "", "", "", "", "")
    best = min([1.0, *(trial.ratio for trial in search.trials.values())])
    rate = 2e-3 * search.task.macs / (best * search.planned)
    share = "" if peak is None else f"{1e9 * rate / _most(search, peak):.0%}"
    return (*head, f"{search.planned:.1f}", f"{best:.2f}", f"{rate:.0f}", share, f"{search.gain:.1f}")


def _most(search: Search, peak: Peak) -> float:
    return peak.int8_ops if search.task.kind.startswith("quantized") else peak.flops


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
