"""What a tuner asks its workers for, and what they answer: plain data that goes from process to process."""

from dataclasses import dataclass
from pathlib import Path

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
    """A program for `Trials` in `folder`, beside its inputs and, where checked, what PyTorch gives for them.

    `copies` has a number for each call of a kernel: 0 the planned one, 1 the first choice ..., -1 none of them.
    `inputs`: how many the program has. `samples`: how many there are of each, called input_SAMPLE_NUMBER, and of the
    outputs, called expected_SAMPLE_NUMBER. `limits`: how far each output may be from PyTorch's over all samples (root
    mean square); empty where nothing is checked.
    """

    folder: Path
    copies: tuple[int, ...]
    inputs: int
    samples: int
    limits: tuple[float, ...]


@dataclass(frozen=True)
class Refusal:
    """Why trials could not be built, or run."""

    reason: str
