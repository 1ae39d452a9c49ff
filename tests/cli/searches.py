"""Made-up results of tuning."""

from dataclasses import dataclass

from lwc.layer_times import Times
from lwc.targets.resolve import resolve_target
from lwc.tune.alone import LayerCall
from lwc.tune.progress import Search
from lwc.tune.records import Trial
from lwc.tune.tasks import Task
from lwc.tuning import Tuned
from tests.tune.made import failed, kernel, measured, wrong


@dataclass(frozen=True)
class Gemm:
    """Stands for a template's kernel."""

    macs: int = 10_000_000


@dataclass(frozen=True)
class QuantizedGemm(Gemm):
    """Stands for one on integers."""


def searched(description: str, layers: tuple[str, ...], *trials: Trial, kind: Gemm | None = None) -> Search:
    """A search in which these trials were made."""
    search = Search(Task(LayerCall("linear", {}, "float32"), description, kind or Gemm(), layers))
    for trial in trials:
        search.take(trial)
    return search


def made_up() -> list[Search]:
    """A kernel with a faster choice, one given up in the model, one without luck, and one that was not tried."""
    one, two, three, four = map(kernel, range(4))
    return [
        searched(one, ("head", "tail"), measured(one, 0.8, 5, rows=4), measured(one, 0.9, 1, rows=5)),
        searched(
            two,
            ("a.very.long.name.of.a.layer.that.nobody.wants.to.read",),
            measured(two, 1.1, 10),
            measured(two, 1.3, 1, rows=5),
        ),
        searched(three, ("stem",), measured(three, 1.2, 1), wrong(three, rows=2), failed(three, rows=3)),
        searched(four, ("last",)),
    ]


TUNED = Tuned(
    resolve_target("arm64"),
    made_up(),
    planned=Times(1000.0, {"head": 100.0}),
    tuned=Times(960.0, {"head": 80.0}),
)
