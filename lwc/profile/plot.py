"""The roofline of a profile: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model",
CACM 52(4), 2009."""

from typing import IO

import matplotlib
import numpy as np

from lwc.profile.peak import Peak
from lwc.profile.profile import CallTime, Profile

matplotlib.use("Agg")
from matplotlib import pyplot


def roofline(profile: Profile, peak: Peak, title: str, file: IO[bytes], form: str) -> None:
    """Draws each call that multiplies, its area by its share of the time, under what the machine can do at most.

    x: operations for each byte of its operands; y: 10^9 operations a second; `form`: "png" or "svg".
    """
    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    calls = [call for call in profile.calls if call.entry.macs]
    intensity = np.geomspace(0.1, 1000, 200)
    for rate, what in ((peak.flops, "float32"), (peak.int8_ops, "int8")):
        axes.loglog(intensity, np.minimum(rate, peak.bytes * intensity) * 1e-9, color="black")
        axes.annotate(f"{rate * 1e-9:.0f} Gop/s in {what}", (1000, rate * 1e-9), ha="right", va="bottom")
    for kind in sorted({call.kind for call in calls}):
        own = [call for call in calls if call.kind == kind]
        axes.scatter(
            [_intensity(call) for call in own],
            [call.gops for call in own],
            s=[2000 * call.microseconds / profile.sum for call in own],
            alpha=0.6,
            label=f"{kind}: {sum(call.microseconds for call in own) / profile.sum:.0%} of the time",
        )
    axes.set(title=title, xlabel="operations a byte of operands", ylabel="10^9 operations a second")
    axes.legend(loc="lower right")
    axes.grid(which="both", alpha=0.2)
    figure.savefig(file, format=form, dpi=120)
    pyplot.close(figure)


def _intensity(call: CallTime) -> float:
    return 2 * call.entry.macs / call.entry.bytes
