"""Which layers of a quantized program are faster in float32 on this machine, and what layers in float32 cost."""

from collections.abc import Callable
from dataclasses import dataclass

from lwc.layer_times import LayerTimer, Times, time_in_turns
from lwc.package.parts import Parts
from lwc.quantize.data import CalibrationData
from lwc.quantize.layers import rounded_layers
from lwc.quantizing import Quantized, with_float_kernels, with_float_layers

# The part of a run that a layer has to save in float32: less is noise, and conversions around it cost, too.
_WORTH = 0.02


@dataclass(frozen=True)
class Speed:
    """A program on integers, ready to run; its times, those with all layers in float32, and which are faster so."""

    timer: LayerTimer
    parts: Parts
    integer: Times
    float32: Times
    faster: frozenset[str]

    def runs(self, chosen: Quantized) -> tuple[float, float]:
        """Microseconds of a run with all layers on integers, and of one of `chosen`, in turns."""
        integer, other = time_in_turns([self.parts, self.timer.compiled("chosen", chosen.integer)])
        return integer.run, other.run


def measure_speed(
    timer: LayerTimer, quantized: Quantized, data: CalibrationData, note: Callable[[str], None]
) -> Speed:
    """The times of `quantized`, layer by layer, on integers and in float32.

    A layer is faster in float32 where that saves two hundredths of a run. With all such layers in float32 a run as a
    whole has to be faster, conversions included: else, or where no weights are left on integers, none is.
    """
    note("compiling with all layers on integers")
    parts = timer.compiled("integer", quantized.integer)
    note("compiling with all layers in float32")
    program, _ = with_float_kernels(quantized.original)
    integer, float32 = time_in_turns([parts, timer.compiled("float32", program)])
    faster = frozenset(
        layer
        for layer in rounded_layers(quantized.rounded)
        if _saved(layer, integer, float32) > _WORTH * integer.run
    )
    if faster:
        note("compiling with the layers in float32 that are faster so")
        mixed = with_float_layers(quantized, faster, data)
        whole, other = time_in_turns([parts, timer.compiled("faster", mixed.integer)])
        if mixed.quantization.integer_layers == 0 or other.run >= whole.run:
            faster = frozenset()
    return Speed(timer, parts, integer, float32, faster)


def _saved(layer: str, integer: Times, float32: Times) -> float:
    """Microseconds; 0 where a layer is not told apart in one of the two."""
    if layer not in integer.layers or layer not in float32.layers:
        return 0.0
    return integer.layers[layer] - float32.layers[layer]
