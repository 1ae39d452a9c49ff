"""Which range of an activation becomes the 256 integers, from what the calibration samples hold."""

from collections.abc import Sequence
from typing import Any

import torch
from torchao.quantization.pt2e import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    PerChannelMinMaxObserver,
)

# Of the numbers, the part between the range's ends.
_INSIDE = 0.9999


class PercentileObserver(HistogramObserver):  # type: ignore[misc]
    """From the 0.005th percentile to the 99.995th: 99.99 % of the numbers lie inside.

    They are read off torchao's running histogram of 2048 bins, linear within a bin.
    """

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The scale and the zero point."""
        counts = self.histogram.double().cumsum(0)
        edges = torch.linspace(float(self.min_val), float(self.max_val), self.bins + 1, dtype=torch.double)
        outside = (1 - _INSIDE) / 2
        low, high = (_quantile(counts / counts[-1], edges, part) for part in (outside, 1 - outside))
        scale_and_zero_point: tuple[torch.Tensor, torch.Tensor] = self._calculate_qparams(low, high)
        return scale_and_zero_point


def _quantile(cumulative: torch.Tensor, edges: torch.Tensor, part: float) -> torch.Tensor:
    """Below which `part` of the numbers lie: `cumulative` is the part below the upper edge of each bin."""
    place = int(torch.searchsorted(cumulative, part))
    before = cumulative[place - 1] if place else torch.zeros((), dtype=torch.double)
    within = (part - before) / (cumulative[place] - before)
    return (edges[place] + within * (edges[place + 1] - edges[place])).float()


class SharedChannelObserver(PerChannelMinMaxObserver):  # type: ignore[misc]
    """A range for each channel, all that was seen; the channels of each of `groups` share one."""

    def __init__(self, groups: Sequence[Sequence[int]], **options: Any) -> None:
        super().__init__(**options)
        self.groups = groups

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The scales and the zero points, (C,)."""
        low, high = self.min_val.clone(), self.max_val.clone()
        for group in self.groups:
            channels = list(group)
            low[channels], high[channels] = low[channels].min(), high[channels].max()
        scales_and_zero_points: tuple[torch.Tensor, torch.Tensor] = self._calculate_qparams(low, high)
        return scales_and_zero_points


# minmax: all that was seen. moving-average: the ends, of which each sample moves the mean by a hundredth. mse: the
# least squared error, by a search on a histogram.
OBSERVER_CLASSES: dict[str, Any] = {
    "minmax": MinMaxObserver,
    "moving-average": MovingAverageMinMaxObserver,
    "percentile": PercentileObserver,
    "mse": HistogramObserver,
}
