"""What a package's manifest says of INT8."""

from lwc.package.frozen import Count, Frozen


class Quantization(Frozen):
    """Where the ranges are from, how many layers compute on integers, and what rounding did to the sample's outputs.

    `calibration`: "100 images", "32 arrays" or "synthetic". `signal_to_noise_db`: of each output against the float
    model's, 10 log10 (variance / mean square of the difference); None where either is zero.
    """

    calibration: str
    integer_layers: Count
    float_layers: Count
    signal_to_noise_db: tuple[float | None, ...]
