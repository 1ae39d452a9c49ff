"""Every kernel on integers gives the bits of its operator in PyTorch, over shapes that no vector or tile divides.

LWC_TEST_OUTPUTS=6000000 python -m pytest tests/compiled/test_quantized_kernels.py compares as many numbers of each kind
on each target, from as many libraries as that takes: 10^8 in all.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lwc
from lwc.ops.activation import ACTIVATIONS
from lwc.package.run import run_package
from lwc.targets.resolve import resolve_target
from tests.compiled.quantized_layers import KINDS, All, Case, Draw, depthwise, places, whole_vectors
from tests.compiled.support import Array, compile_module, require_runner
from tests.programs import random_inputs

pytestmark = pytest.mark.slow

# vnni, madd in vectors of 512 and of 256 bits, smull, sdot, dp4a (where there is no GPU, its kernels are emulated).
TARGETS = ("native", "x86-64-v4", "x86-64-v3", "arm64", "cortex-a76", "cuda:sm_80")
OUTPUTS = int(os.environ.get("LWC_TEST_OUTPUTS") or 0)
# The inputs that a library is run on, in this process and under emulation.
SAMPLES, EMULATED = (200, 50) if OUTPUTS else (20, 5)

# The others have no product of their own.
CASES = [
    (kind, target)
    for kind in KINDS
    for target in (TARGETS if kind in ("pointwise", "dense", "depthwise") else ("native",))
]


@pytest.mark.parametrize(("kind", "target"), CASES)
def test_the_bits_are_those_of_the_operator(
    kind: str, target: str, tmp_path: Path, rng: torch.Generator
) -> None:
    require_runner(target)
    draw, compared = Draw(rng), 0
    while not compared or compared < OUTPUTS:
        layers = [KINDS[kind](place, draw) for place in places(dtype_of(target), draw)]
        compared += compare(layers, target, draw, tmp_path / f"{kind}_{compared}")
    print(f"{compared} numbers are equal")
    # A mean is one number for many.
    assert compared > (300 if kind == "mean" else 10_000)


@pytest.mark.parametrize("target", TARGETS)
def test_every_activation_follows_interleaved_bytes(
    target: str, tmp_path: Path, rng: torch.Generator
) -> None:
    require_runner(target)
    draw = Draw(rng)
    layers = [
        depthwise(replace(whole_vectors(place, draw), activation=activation), draw)
        for activation, place in zip(ACTIVATIONS, places(dtype_of(target), draw), strict=False)
    ]
    assert compare(layers, target, draw, tmp_path / "depthwise") > 10_000


def dtype_of(target: str) -> str:
    """The type of the target's activations on integers."""
    return resolve_target(target).quantized_dtype


def compare(layers: Sequence[Case], target: str, draw: Draw, output: Path) -> int:
    """How many numbers are equal in the results of a library of these layers: all of them."""
    module = All(layers)
    shapes = tuple(shape for layer in layers for shape in layer.read)
    sample = random_inputs(shapes, draw.rng)
    # No pass knows integers.
    package = compile_module(output, module, sample, target, passes="remove-identities").package
    compared = 0
    numbers: list[set[float]] = [set() for _ in layers]
    here = is_for_this_machine(target)
    with runner(package, here) as run:
        for _ in range(SAMPLES if here else EMULATED):
            inputs = random_inputs(shapes, draw.rng)
            with torch.no_grad():
                wanted = [value.numpy() for value in module(*inputs)]
            for number, (want, got) in enumerate(zip(wanted, run(inputs), strict=True)):
                assert np.array_equal(got, want), f"layer {number}: {layers[number]}"
                compared += want.size
                numbers[number].update(want.flat)
    alive = sum(len(some) > 1 for some in numbers)
    assert alive > len(layers) // 3, f"the results of {alive} of {len(layers)} layers vary"
    return compared


def is_for_this_machine(target: str) -> bool:
    """Whether the package is for this machine's processor."""
    asked = resolve_target(target)
    return asked.gpu is None and asked.architecture == resolve_target("native").architecture


@contextlib.contextmanager
def runner(package: Path, here: bool) -> Iterator[Callable[[Sequence[torch.Tensor]], tuple[Array, ...]]]:
    """Runs the package in this process, or under emulation."""
    if not here:
        yield lambda inputs: run_package(package, [value.numpy() for value in inputs])
        return
    model = lwc.load(package)
    context = model.context()
    try:
        yield lambda inputs: context.run(*(value.numpy() for value in inputs))
    finally:
        model.close()
