"""What a package's manifest says of INT8."""

from typing import Annotated, Literal

from pydantic import Field

from lwc.package.frozen import Count, Frozen

# The calibration of a model that was quantized before.
OWN_RANGES = "ranges of the model"
Microseconds = Annotated[float, Field(ge=0)]


class LayerNoise(Frozen):
    """What rounding does to the result of one layer, as signal-to-noise ratios in decibels; None where it is exact.

    `own`: of this layer alone, with inputs from the float model; `accumulated`: of it and of all layers before it.
    """

    layer: str
    own_db: float | None
    accumulated_db: float | None


class Fallback(Frozen):
    """A layer that stays in float32, for the accuracy or because it is faster so.

    `output_db`: the signal-to-noise ratio of the model's output where only this layer is rounded, None where that is
    exact. The times are medians of its kernel's calls, None where they were not measured.
    """

    layer: str
    reason: Literal["accuracy", "speed"]
    output_db: float | None
    integer_us: Microseconds | None
    float_us: Microseconds | None


class AccuracyBudget(Frozen):
    """How far the top-1 may fall (a share of all images), how far it falls, and which layers stay in float32 for it.

    `integer_drop` is that with all layers on integers. `integer_run_us` and `run_us`: the median time of a run with
    all layers on integers, and of the package's, with its conversions; None where they were not measured.
    """

    budget: Annotated[float, Field(ge=0, lt=1)]
    integer_drop: float
    drop: float
    fallbacks: tuple[Fallback, ...]
    integer_run_us: Microseconds | None
    run_us: Microseconds | None


class Quantization(Frozen):
    """Where the ranges are from, how many layers compute on integers, and what rounding did to the results.

    `calibration`: "100 images", "32 arrays", "synthetic", or OWN_RANGES. `observer`: how the ranges of activations
    were found, "minmax", "moving-average", "percentile" or "mse"; None where that is not known. `equalized_tensors`:
    how many tensors between two layers had their channels scaled to like ranges; 0 where that does not help.
    `signal_to_noise_db`: of each output against the model's, in float32 or as it was quantized before, over several
    samples: 10 log10 (variance / mean square of the difference); None where either is zero. `layers`: the same of each
    rounded layer's result, over the same `noise_samples` samples. `accuracy_budget`: None where none was asked for.
    What older versions did not say has a default.
    """

    calibration: str
    observer: str | None = None
    integer_layers: Count
    float_layers: Count
    equalized_tensors: Count = 0
    signal_to_noise_db: tuple[float | None, ...]
    noise_samples: Count = 0
    layers: tuple[LayerNoise, ...] = ()
    accuracy_budget: AccuracyBudget | None = None

    @property
    def origin(self) -> str:
        """Where the ranges are from, in words."""
        if self.calibration == OWN_RANGES:
            return OWN_RANGES
        how = "" if self.observer is None else f", {self.observer}"
        return f"calibrated on {self.calibration}{how}"
