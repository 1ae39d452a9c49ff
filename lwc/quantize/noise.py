"""How much noise rounding makes, by layer: the signal-to-noise ratio of its result against the float model's.

A layer's rounding is that of its inputs, its weights and its bias: what it gives is rounded by the layers that read it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx
from torch.utils._pytree import tree_leaves

from lwc.package.quantization import LayerNoise
from lwc.quantize.layers import rounded_layers
from lwc.quantize.quantize import Sample
from lwc.trace import Program

_SAMPLES = 8


def spread(samples: Sequence[Sample], count: int = _SAMPLES) -> Sequence[Sample]:
    """`count` of `samples`, from all over them; all where there are fewer."""
    return samples[:: max(1, len(samples) // count)][:count]


def stacked_outputs(module: torch.nn.Module, samples: Sequence[Sample]) -> list[NDArray[np.float32]]:
    """Each output of `module`, the samples along a new first axis."""
    with torch.no_grad():
        results = [tree_leaves(module(*sample)) for sample in samples]
    return [np.stack([tensor.detach().numpy() for tensor in output]) for output in zip(*results, strict=True)]


def layer_noise(original: Program, quantized: Program, samples: Sequence[Sample]) -> tuple[LayerNoise, ...]:
    """The noise of each rounded layer of `quantized`, which was made from `original`, over `samples`, in order.

    The decibels are 10 log10 (variance of the float result / mean square of the difference), both means over samples.
    """
    layers = {node.name: layer for layer, node in rounded_layers(quantized).items()}
    signal, own, accumulated = (dict.fromkeys(layers, 0.0) for _ in range(3))
    with torch.no_grad():
        for sample in samples:
            wanted: dict[str, torch.Tensor] = {}
            _Watched(original.module, layers, wanted.__setitem__).run(*sample)
            for name, value in wanted.items():
                signal[name] += float(value.double().var(correction=0))
            # With each result replaced by the float model's, every layer reads what the float model's reads.
            _Watched(quantized.module, layers, _Adder(own, wanted), wanted).run(*sample)
            _Watched(quantized.module, layers, _Adder(accumulated, wanted)).run(*sample)
    return tuple(
        LayerNoise(
            layer=layer,
            own_db=decibels(signal[name], own[name]),
            accumulated_db=decibels(signal[name], accumulated[name]),
        )
        for name, layer in layers.items()
    )


class _Adder:
    """Adds the mean square of each result's difference from the one that is wanted."""

    def __init__(self, sums: dict[str, float], wanted: Mapping[str, torch.Tensor]) -> None:
        self.sums, self.wanted = sums, wanted

    def __call__(self, name: str, value: torch.Tensor) -> None:
        self.sums[name] += float((value.double() - self.wanted[name]).square().mean())


class _Watched(fx.Interpreter):
    """Runs a graph, shows `see` the results of the nodes called `names`, and puts those of `instead` in their place."""

    def __init__(
        self,
        module: fx.GraphModule,
        names: Mapping[str, str],
        see: Callable[[str, torch.Tensor], None],
        instead: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__(module)
        self.names, self.see, self.instead = names, see, instead or {}

    def run_node(self, n: fx.Node) -> Any:
        """The result of `n`, or what stands in for it."""
        result = super().run_node(n)
        if n.name in self.names:
            self.see(n.name, result)
        return self.instead.get(n.name, result)


def signal_to_noise_db(want: NDArray[np.float32], got: NDArray[np.float32]) -> float | None:
    """10 log10 (variance of `want` / mean square of the difference); None where either is zero."""
    return decibels(float(np.var(want)), float(np.mean((want.astype(np.float64) - got) ** 2)))


def decibels(signal: float, noise: float) -> float | None:
    """10 log10 (`signal` / `noise`), both powers; None where either is zero."""
    return 10 * math.log10(signal / noise) if signal and noise else None
