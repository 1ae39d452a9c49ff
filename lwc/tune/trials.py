"""What a tuner asks its workers for, and what they answer: plain data that goes from process to process."""

from dataclasses import dataclass
from pathlib import Path

from lwc.package.emit import Interface
from lwc.package.reference import Reference, Sample
from lwc.package.toolchain import Toolchain
from lwc.targets.kernels.search_space import Choice
from lwc.targets.target import Target
from lwc.tune.alone import LayerCall

# The file in a trials' folder that says what to build there.
REQUEST = "request.pickle"


@dataclass(frozen=True)
class Trials:
    """A layer, and the kernels to try for it: the planned one first, then one for each of `choices`.

    `runtime`: the folder with the runtime's object files. `checked`: with what PyTorch gives, which takes longer than
    to build them.
    """

    call: LayerCall
    target: Target
    toolchain: Toolchain
    choices: tuple[Choice, ...]
    seed: int
    runtime: Path
    checked: bool = False


@dataclass(frozen=True)
class Built:
    """A program for `Trials` in `folder`, with samples of its inputs, and what PyTorch gives for them where checked.

    `copies` has a number for each call of a kernel: 0 the planned one, 1 the first choice ..., -1 none of them.
    """

    folder: Path
    interface: Interface
    samples: tuple[Sample, ...]
    copies: tuple[int, ...]
    reference: Reference | None


@dataclass(frozen=True)
class Refusal:
    """Why trials could not be built, or run."""

    reason: str
