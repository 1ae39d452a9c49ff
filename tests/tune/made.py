"""Made-up kernels, circumstances and trials."""

from typing import Any

from lwc.tune.records import Circumstances, Trial, canonical_json, workload_of

HERE = Circumstances(
    machine=canonical_json({"cores": 4, "triple": "aarch64-linux-gnu"}),
    cpu="Cortex-A76",
    threads=4,
    versions="lwc 0.1.0, kernels 1",
)


def kernel(number: int, by: str = "test") -> str:
    """The canonical description of a kernel, another one for each number and name."""
    return canonical_json({"kernel": "gemm", "by": by, "m": number, "scale": 0.1})


def measured(description: str, ratio: float = 0.5, rounds: int = 10, **choice: int) -> Trial:
    """A choice that takes `ratio` of the default kernel's time."""
    return Trial(workload_of(description), dict(choice), "measured", 100 * ratio, 100.0, rounds)


def failed(description: str, rounds: int = 1, **choice: int) -> Trial:
    """A choice that gave nothing."""
    return Trial(workload_of(description), dict(choice), "failed", None, None, rounds, "signal 11")


def wrong(description: str, rounds: int = 1, **choice: int) -> Trial:
    """A choice that computes something else."""
    return Trial(workload_of(description), dict(choice), "wrong", None, None, rounds, "off by 0.5")


def no_warning(message: str) -> None:
    """Fails: where it is given, nothing is to be warned of."""
    raise AssertionError(message)


def fields_of(trial: Trial, **changes: Any) -> dict[str, Any]:
    """The arguments that make `trial`, some of them changed."""
    return vars(trial) | changes
