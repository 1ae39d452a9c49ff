"""Where what is measured here holds: this target, this processor, these threads, these versions."""

from dataclasses import asdict
from importlib.metadata import version

from lwc.bench.machine import processor
from lwc.package.load import MAX_THREADS
from lwc.targets.kernels.search_space import VERSION
from lwc.targets.target import Target
from lwc.tune.records import Circumstances, canonical_json

# With so many rounds a choice is used, and not with fewer.
ROUNDS = 5
# What is seen in a whole model counts more.
MODEL_ROUNDS = 2 * ROUNDS


def circumstances_of(target: Target, threads: int, cpu: str | None = None) -> Circumstances:
    """Of trials on a machine with that `cpu`, by default this one; `threads` 0: one a core of the target."""
    capabilities = {
        name: value for name, value in asdict(target).items() if name not in ("name", "description")
    }
    return Circumstances(
        canonical_json(capabilities),
        processor() if cpu is None else cpu,
        min(threads or target.cores, MAX_THREADS),
        current_versions(),
    )


def current_versions() -> str:
    """The versions that trials of this lwc have: records of others are of no use to it."""
    packages = [f"{package} {version(package)}" for package in ("lwc", "apache-tvm")]
    return ", ".join((*packages, f"kernels {VERSION}"))
