"""Random small networks, as Python source: what a failing test prints can be pasted and run."""

import random
from collections.abc import Callable

Shape = tuple[int, int, int, int]

HEADER = """import torch
from torch import nn
from torch.nn import functional as F


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
"""


class Writer:
    """Writes one network; each step adds a line or more and yields a new image (N, C, H, W)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.input: Shape = (
            self.random.randint(1, 2),
            self.random.randint(1, 6),
            self.random.randint(4, 8),
            self.random.randint(4, 8),
        )
        self._layers: list[str] = []
        self._lines: list[str] = []
        # Every image so far, by its variable's name, and those that are zero nowhere but by accident.
        self.images: dict[str, Shape] = {"x": self.input}
        self._alive: list[str] = []
        # Convolutions that may be called again: what to write, their input's shape and their output's.
        self.layers: list[tuple[str, Shape, Shape]] = []

    def source(self, steps: "list[Step]", count: int) -> str:
        """The network's source after `count` of the `steps`, which are drawn with equal chances, and a head."""
        for _ in range(count):
            self.random.choice(steps)(self)
        self._head()
        layers = "".join(f"        self.{line}\n" for line in self._layers)
        lines = "".join(f"        {line}\n" for line in self._lines)
        return f"{HEADER}{layers}\n    def forward(self, x: torch.Tensor) -> object:\n{lines}"

    def layer(self, text: str) -> str:
        """What to write for a new layer, parameter or buffer `text`."""
        name = f"layer{len(self._layers)}"
        self._layers.append(f"{name} = {text}")
        return f"self.{name}"

    def local(self, text: str) -> str:
        """The variable of a new value that is no image."""
        name = f"v{len(self._lines)}"
        self._lines.append(f"{name} = {text}")
        return name

    def emit(self, text: str, shape: Shape, alive: bool = False) -> str:
        """The variable of a new image; `alive` says that it is never zero everywhere."""
        name = self.local(text)
        self.images[name] = shape
        if alive:
            self._alive.append(name)
        return name

    def pick(self) -> tuple[str, Shape]:
        """An image, the newest ones more often."""
        names = list(self.images)
        name = names[max(self.random.randrange(len(names)) for _ in range(2))]
        return name, self.images[name]

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability

    def _head(self) -> None:
        name, (_, c, h, w) = list(self.images.items())[-1]
        flattened, width = self.random.choice(
            [
                (f"F.adaptive_avg_pool2d({name}, 1).flatten(1)", c),
                (f"{name}.mean((2, 3))", c),
                (f"{name}.flatten(1)", c * h * w),
                (f"{name}.flatten(2).transpose(1, 2)", c),
            ]
        )
        result = f"{self.layer(f'nn.Linear({width}, 3)')}({flattened})"
        if self.chance(0.2):
            # Two classifiers and their average, as LeViT has.
            result = f"({result} + {self.layer(f'nn.Linear({width}, 3)')}({flattened})) / 2"
        outputs = [result]
        if self._alive and self.chance(0.4):
            outputs.append(self.random.choice(self._alive))
        self._lines.append(f"return {', '.join(outputs)}")


# Adds to a network.
Step = Callable[[Writer], None]
