"""The trials that the outcomes of runs become."""

from lwc.files import one_line
from lwc.tune.measure import Measured, Outcome
from lwc.tune.records import MAX_REASON, Trial
from lwc.tune.trials import Refusal


def trial_of(workload: str, choice: dict[str, int], outcome: Outcome, rounds: int) -> Trial:
    """What came of a choice for `workload`, in `rounds`."""
    if isinstance(outcome, Measured):
        times = (outcome.microseconds, outcome.planned)
        return Trial(workload, choice, "measured", *times, rounds, condition=_line(outcome.condition))
    if isinstance(outcome, Refusal):
        return Trial(workload, choice, "failed", None, None, rounds, _line(outcome.reason))
    return Trial(workload, choice, "wrong", None, None, rounds, _line(outcome.reason))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in one_line(text))[:MAX_REASON]
