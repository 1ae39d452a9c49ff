"""What lwc knows of a GPU that it compiles for."""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Gpu:
    """The capabilities of an NVIDIA GPU; `architecture` is the compiler's name of its compute capability ("sm_80").

    `numbers` is what real numbers between kernels are stored as; sums are in float32 in any case.
    `shared_bytes` is what a block of threads may take of shared memory without asking for more. Limits are those of
    the CUDA C++ Programming Guide, "Compute Capabilities".
    """

    architecture: str
    multiprocessors: int
    shared_bytes: int = 48 * 1024
    warp: int = 32
    block_threads: int = 1024
    numbers: Literal["float32", "float16"] = "float32"

    def runs_on(self, architecture: str) -> bool:
        """Whether code for this GPU runs on those of `architecture`, as it is or compiled anew by their driver."""
        return self.capability <= replace(self, architecture=architecture).capability

    @property
    def capability(self) -> tuple[int, int]:
        """The compute capability, (8, 0) of sm_80."""
        number = int(self.architecture.removeprefix("sm_"))
        return divmod(number, 10)
