"""How much to try."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """`trials` of each kernel at most, and `seconds` for all together, None without an end.

    `resume`: those of earlier runs count.
    """

    trials: int
    seconds: float | None = None
    resume: bool = True


# Four to five trials a second on two cores, and MobileNetV1 has 17 kernels: less than two minutes, five, half an hour.
EFFORTS = {"quick": Effort(21, 480.0), "normal": Effort(84), "full": Effort(420)}
# What `lwc compile` does: take what earlier tuning found, or nothing, or tune first.
TUNE = ("records", "none", *EFFORTS)
