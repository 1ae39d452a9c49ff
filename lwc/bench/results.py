"""What a contest says: medians, errors, and the ratio to the best of the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.bench.contest import Entrant
from lwc.bench.engines import LWC
from lwc.bench.task import Array

Reals = NDArray[np.floating[Any]]

# Of the outputs' RMS, by precision. An engine beyond it computes something else, or in less than float32. Rounding to
# 8 bits leaves a network of random weights little; outputs that have nothing to do with each other differ by 1.4.
MAX_ERROR = {"fp32": 1e-4, "int8": 0.7}


@dataclass(frozen=True)
class Result:
    """One engine on one model: latency in milliseconds.

    error: RMS distance of its outputs from PyTorch's in float64, as a part of their RMS; None where they cannot be
    compared.
    ratio: how lwc's latency compares to it: the median over the rounds of the ratio of the rounds' medians.
    failure: why there are no figures, or why they do not count.
    """

    engine: str
    version: str
    median: float | None = None
    p90: float | None = None
    minimum: float | None = None
    error: float | None = None
    ratio: float | None = None
    failure: str | None = None


def summarize(
    entrants: Sequence[Entrant], reference: Sequence[Reals], max_error: float = MAX_ERROR["fp32"]
) -> list[Result]:
    """The result of each engine, in the same order. `reference`: the outputs in float64."""
    wrong = [_why_wrong(entrant, reference, max_error) for entrant in entrants]
    pairs = list(zip(entrants, wrong, strict=True))
    ours = next((_medians(e) for e, why in pairs if e.name == LWC and why is None), None)
    return [_summarize(entrant, reference, ours, why) for entrant, why in pairs]


def best_peer(results: Sequence[Result]) -> Result | None:
    """The fastest engine besides lwc that gives the right outputs."""
    peers = [result for result in results if result.engine != LWC and result.failure is None]
    return min(peers, key=lambda result: result.median or np.inf, default=None)


def _summarize(entrant: Entrant, reference: Sequence[Reals], ours: Reals | None, wrong: str | None) -> Result:
    if not _complete(entrant):
        return Result(entrant.name, entrant.version, failure=entrant.failure)
    times = np.concatenate(entrant.rounds)
    error = relative_error(entrant.outputs, reference)
    return Result(
        entrant.name,
        entrant.version,
        float(np.median(times)),
        float(np.percentile(times, 90)),
        float(times.min()),
        error if np.isfinite(error) else None,
        None if ours is None else float(np.median(ours / _medians(entrant))),
        wrong,
    )


def _complete(entrant: Entrant) -> bool:
    return entrant.failure is None and bool(entrant.rounds)


def _why_wrong(entrant: Entrant, reference: Sequence[Reals], max_error: float) -> str | None:
    """Why its figures do not count; None where they do."""
    if not _complete(entrant):
        return entrant.failure
    right = relative_error(entrant.outputs, reference) <= max_error
    return None if right else "its outputs are not the model's"


def _medians(entrant: Entrant) -> Reals:
    return np.array([np.median(times) for times in entrant.rounds])


def relative_error(outputs: Sequence[Array], reference: Sequence[Reals]) -> float:
    """RMS of the difference over RMS of the reference; infinite where number, shape or values cannot be compared."""
    if [array.shape for array in outputs] != [array.shape for array in reference]:
        return float("inf")
    got, want = (np.concatenate([array.ravel() for array in arrays]) for arrays in (outputs, reference))
    error = float(np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)))
    return error if np.isfinite(error) else float("inf")
