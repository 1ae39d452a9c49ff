"""The time of every call of a kernel in a package's own library."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lwc.bench.timing import WARM_UP
from lwc.errors import BadInputError, ResourceError, UnsupportedError
from lwc.package.load import load
from lwc.package.manifest import CallEntry, Manifest, open_package, sample_name
from lwc.package.run import find_package_runner
from lwc.profile.peak import Peak


@dataclass(frozen=True)
class CallTime:
    """A call of a kernel and its median time in microseconds."""

    entry: CallEntry
    microseconds: float

    @property
    def kind(self) -> str:
        """The template that made the kernel, such as `gemm` or `quantizedgemm`; a name of TVM's for what has none."""
        return self.entry.kernel.removeprefix("lwc_").rstrip("0123456789")

    @property
    def gops(self) -> float:
        """Achieved 10^9 operations a second; a multiply-accumulate is two, all else none."""
        return 2e-3 * self.entry.macs / self.microseconds if self.microseconds else 0.0

    @property
    def gbytes(self) -> float:
        """Achieved 10^9 bytes a second, each operand counted once."""
        return 1e-3 * self.entry.bytes / self.microseconds if self.microseconds else 0.0

    def limit(self, peak: Peak) -> float:
        """Microseconds of the multiply-accumulates alone at `peak`."""
        rate = peak.int8_ops if self.kind.startswith("quantized") else peak.flops
        return 2e6 * self.entry.macs / rate


@dataclass(frozen=True)
class Profile:
    """Each call in order, and the median time of whole runs without the counter, in microseconds."""

    calls: tuple[CallTime, ...]
    whole: float

    @property
    def sum(self) -> float:
        """Of the calls' times."""
        return sum(call.microseconds for call in self.calls)

    def limit(self, peak: Peak) -> float:
        """Of the calls, in microseconds."""
        return sum(call.limit(peak) for call in self.calls)


def profile_package(package: Path, threads: int, repeat: int) -> Profile:
    """Times `package` on its stored sample, `repeat` runs with the counter and as many without, in turn.

    Raises BadInputError for what is no package, VerificationError for a changed file, ResourceError where it does not
    run natively: an emulator's times mean nothing.
    """
    manifest = open_package(package)
    if manifest.target.gpu is not None:
        raise UnsupportedError(
            f"{package}: is for a GPU, whose limits lwc does not measure yet; `lwc-run --profile` in it has the times"
        )
    if find_package_runner(package, manifest).how != "native":
        raise ResourceError(f"{package}: is for another machine; run `lwc profile` there")
    inputs = [np.load(package / sample_name("sample_input", i)) for i in range(len(manifest.inputs))]
    with load(package, threads).context(threads) as context:
        for _ in range(WARM_UP):
            context.run(*inputs)
        times, whole = [], []
        for _ in range(repeat):
            times.append(context.profile(*inputs))
            start = time.perf_counter()
            context.run(*inputs)
            whole.append(1e6 * (time.perf_counter() - start))
    return Profile(_calls(package, manifest, np.median(times, axis=0) * 1e-3), float(np.median(whole)))


def _calls(package: Path, manifest: Manifest, microseconds: np.ndarray) -> tuple[CallTime, ...]:
    if len(microseconds) != len(manifest.calls):
        raise BadInputError(
            f"{package}: its manifest lists other calls than its library has; compile it again"
        )
    return tuple(CallTime(entry, float(t)) for entry, t in zip(manifest.calls, microseconds, strict=True))
