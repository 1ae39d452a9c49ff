"""The words that INT8's options take."""

from dataclasses import dataclass

PRECISIONS = ("fp32", "fp16", "int8")
# How an activation's range is found: torchao's names, or nearly.
OBSERVERS = ("minmax", "moving-average", "percentile", "mse")
# Of those the best by measurement: docs/int8.md.
DEFAULT_OBSERVER = "mse"
# At the package's border.
IO = ("float32", "int8")


@dataclass(frozen=True)
class Rules:
    """How a program is quantized: how ranges are found, one of OBSERVERS, and what is at its border, one of IO."""

    observer: str = DEFAULT_OBSERVER
    io: str = "float32"


DEFAULT_RULES = Rules()
