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
    """Writes one network; each step adds a line or two and yields a new image (N, C, H, W)."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._layers: list[str] = []
        self._lines: list[str] = []
        choose = self._random.randint
        self.input: Shape = (choose(1, 2), choose(1, 8), choose(5, 11), choose(5, 11))
        # Every image so far, by its variable's name.
        self._images: dict[str, Shape] = {"x": self.input}

    def source(self, steps: int) -> str:
        """The network's source after `steps` random steps and a head."""
        kinds: list[Callable[[], None]] = [self._convolve] * 4
        kinds += [self._normalize, self._activate, self._activate, self._add, self._concatenate, self._pool]
        for _ in range(steps):
            self._random.choice(kinds)()
        self._head()
        layers = "".join(f"        self.{line}\n" for line in self._layers)
        lines = "".join(f"        {line}\n" for line in self._lines)
        return f"{HEADER}{layers}\n    def forward(self, x: torch.Tensor) -> torch.Tensor:\n{lines}"

    def _layer(self, text: str) -> str:
        name = f"layer{len(self._layers)}"
        self._layers.append(f"{name} = {text}")
        return f"self.{name}"

    def _emit(self, text: str, shape: Shape) -> str:
        name = f"v{len(self._lines)}"
        self._lines.append(f"{name} = {text}")
        self._images[name] = shape
        return name

    def _pick(self) -> tuple[str, Shape]:
        """An image, the newest ones more often."""
        names = list(self._images)
        name = names[max(self._random.randrange(len(names)) for _ in range(2))]
        return name, self._images[name]

    def _convolve(self) -> None:
        name, (n, c, h, w) = self._pick()
        pads = (0, 0, 0, 0)
        if self._random.random() < 0.3:
            left, right, top, bottom = pads = tuple(self._random.randint(0, 2) for _ in range(4))  # type: ignore[assignment]
            name, h, w = f"F.pad({name}, {pads})", h + top + bottom, w + left + right
        kernel = [self._random.choice([1, 1, 2, 3, 5]) for _ in range(2)]
        if self._random.random() < 0.3:
            kernel = [1, 1]
        own = [self._random.randint(0, k // 2) for k in kernel]
        dilation = [self._random.choice([1, 1, 2]) for _ in range(2)]
        stride = [self._random.choice([1, 1, 2, 3]) for _ in range(2)]
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        if h + 2 * own[0] < reach[0] or w + 2 * own[1] < reach[1]:
            kernel, own, dilation, reach = [1, 1], [0, 0], [1, 1], [1, 1]
        groups = self._random.choice([d for d in range(1, c + 1) if c % d == 0] + [1, c])
        outputs = groups * self._random.randint(1, max(1, 8 // groups))
        bias = self._random.choice([True, False])
        layer = self._layer(
            f"nn.Conv2d({c}, {outputs}, {tuple(kernel)}, stride={tuple(stride)}, padding={tuple(own)}, "
            f"dilation={tuple(dilation)}, groups={groups}, bias={bias})"
        )
        rows, columns = (
            (extent + 2 * p - r) // s + 1 for extent, p, r, s in zip((h, w), own, reach, stride, strict=True)
        )
        self._emit(f"{layer}({name})", (n, outputs, rows, columns))

    def _normalize(self) -> None:
        name, shape = self._pick()
        affine = self._random.choice([True, True, False])
        self._emit(f"{self._layer(f'nn.BatchNorm2d({shape[1]}, affine={affine})')}({name})", shape)

    def _activate(self) -> None:
        name, shape = self._pick()
        low = self._random.uniform(-1, 0.5)
        form = self._random.choice(
            [
                "F.relu({x})",
                "F.relu6({x})",
                "F.silu({x})",
                "F.hardswish({x})",
                "F.hardsigmoid({x})",
                "F.gelu({x})",
                "F.gelu({x}, approximate='tanh')",
                "torch.sigmoid({x})",
                "torch.tanh({x})",
                "F.leaky_relu({x}, 0.1)",
                f"torch.clamp({{x}}, min={low:.3f})",
                f"F.hardtanh({{x}}, {low:.3f}, {low + 1:.3f})",
            ]
        )
        self._emit(form.format(x=name), shape)

    def _add(self) -> None:
        name, shape = self._pick()
        others = [other for other, its in self._images.items() if its == shape]
        operator = self._random.choice("+-*")
        self._emit(f"{name} {operator} {self._random.choice(others)}", shape)

    def _concatenate(self) -> None:
        name, (n, c, h, w) = self._pick()
        others = [other for other, its in self._images.items() if its[2:] == (h, w)]
        other = self._random.choice(others)
        self._emit(f"torch.cat([{name}, {other}], 1)", (n, c + self._images[other][1], h, w))

    def _pool(self) -> None:
        name, (n, c, h, w) = self._pick()
        if self._random.random() < 0.5 or min(h, w) < 2:
            gate = f"torch.sigmoid({name}.mean((2, 3), keepdim=True))"
            self._emit(f"{name} * {gate}", (n, c, h, w))
            return
        kind = self._random.choice(["max_pool2d", "avg_pool2d"])
        self._emit(f"F.{kind}({name}, 2)", (n, c, h // 2, w // 2))

    def _head(self) -> None:
        name, (_, c, h, w) = list(self._images.items())[-1]
        flattened, width = self._random.choice(
            [
                (f"F.adaptive_avg_pool2d({name}, 1).flatten(1)", c),
                (f"{name}.mean((2, 3))", c),
                (f"{name}.flatten(1)", c * h * w),
                (f"{name}.flatten(2).transpose(1, 2)", c),
            ]
        )
        self._lines.append(f"return {self._layer(f'nn.Linear({width}, 3)')}({flattened})")
