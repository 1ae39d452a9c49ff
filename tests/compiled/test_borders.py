"""What a model may have at its border: several inputs and outputs, scalars, constants, its own inputs."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lwc.errors import UnsupportedError
from tests.compiled.support import MAP, agrees, compile_module
from tests.programs import Compute, Shape, random_inputs

pytestmark = pytest.mark.slow


class Constants(nn.Module):
    """Gives a parameter, a computed constant, and a sum with a tensor that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 4))
        self.table = nn.Buffer(torch.zeros(5))
        self.plain = torch.arange(11.0).reshape(11, 1).repeat(1, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.weight, self.table * 2, x @ self.plain


def mixed(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    total = x + y
    return (
        total,
        x,
        total,
        total.flatten(1),
        total.mean(),
        10 * total.mean((0, 2, 3)),
        (x * y)[0, 1, 2],
        y.relu(),
    )


# What a model may have at its border: one module each.
BORDERS: dict[str, tuple[nn.Module, tuple[Shape, ...]]] = {
    "mixed": (Compute(mixed), (MAP, MAP)),
    "constants": (Constants(), (MAP,)),
    "the-input": (Compute(lambda x: x), (MAP,)),
    "vector": (Compute(lambda x: 2 * x + 1), ((7,),)),
    "scalar": (Compute(lambda x: x.square().mean()), (MAP,)),
    "rank-8": (
        Compute(lambda x: x.reshape(1, 2, 3, 3, 3, 11, 1, 1).permute(7, 5, 4, 3, 2, 1, 0, 6) * 3),
        (MAP,),
    ),
    "batch": (
        Compute(
            lambda a, b, c, x: c(b(a(x).relu()).relu().mean((2, 3))),
            nn.Conv2d(3, 17, 3, 2, 1),
            nn.Conv2d(17, 17, 3, padding=1, groups=17),
            nn.Linear(17, 10),
        ),
        ((3, 3, 15, 13),),
    ),
    # As prefix of its functions this is also that of the runtime's own.
    "lwc": (Compute(lambda x: tuple(x * k for k in range(1, 65))), ((2, 3),)),
}


@pytest.mark.parametrize("name", BORDERS)
def test_inputs_and_outputs(name: str, tmp_path: Path, rng: torch.Generator) -> None:
    module, shapes = BORDERS[name]
    agrees(tmp_path, name, module, *shapes, rng=rng)


class TooMany(nn.Module):
    """One more output than a library can have."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(x * k for k in range(65))


def test_too_many_outputs(tmp_path: Path, rng: torch.Generator) -> None:
    with pytest.raises(UnsupportedError, match="65 inputs or outputs: a library has at most 64"):
        compile_module(tmp_path / "many", TooMany(), random_inputs((MAP,), rng))
