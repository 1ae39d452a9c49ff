"""What lwc knows of a machine that it compiles for: capabilities, never a name to compare with."""

from dataclasses import dataclass

from lwc.targets.check import what_is_wrong
from lwc.targets.gpu import Gpu


@dataclass(frozen=True)
class Target:
    """The capabilities of a machine.

    `triple`, `cpu` and `features` are LLVM's; `features` are written with their sign ("+dotprod").
    `cpu_features` are what the library checks when it is opened, named as Linux names them in /proc/cpuinfo.
    `glibc` is the oldest C library that the package may meet.
    `gpu` is what executes the kernels where it is not None: the rest is then of the processor beside it.

    Raises ValueError for a value that no target can have.
    """

    name: str
    description: str
    triple: str
    cpu: str
    features: tuple[str, ...] = ()
    cpu_features: tuple[str, ...] = ()
    vector_bits: int = 128
    vector_registers: int = 32
    int8_dot: bool = False
    i8mm: bool = False
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 512 * 1024
    cores: int = 4
    glibc: str = "2.28"
    gpu: Gpu | None = None

    def __post_init__(self) -> None:
        wrong = what_is_wrong(self)
        if wrong is not None:
            raise ValueError(wrong)

    @property
    def architecture(self) -> str:
        """The first part of the triple: `x86_64` or `aarch64`."""
        return self.triple.split("-")[0]

    @property
    def multiplies_by_element(self) -> bool:
        """Whether a vector can be multiplied by one element of another, in one multiply-add (NEON)."""
        return self.architecture == "aarch64"

    @property
    def float_lanes(self) -> int:
        """How many float32 values one vector register holds."""
        return self.vector_bits // 32

    @property
    def dot_product(self) -> str:
        """How four products of 8-bit integers are added to a 32-bit one: `vnni`, `madd`, `sdot`, `smull` or `dp4a`."""
        if self.gpu is not None:
            return "dp4a"
        if self.architecture == "x86_64":
            return "vnni" if self.int8_dot else "madd"
        return "sdot" if self.int8_dot else "smull"

    @property
    def quantized_dtype(self) -> str:
        """The type of quantized activations: VNNI multiplies unsigned numbers by signed ones, others signed ones."""
        return "uint8" if self.dot_product in ("vnni", "madd") else "int8"
