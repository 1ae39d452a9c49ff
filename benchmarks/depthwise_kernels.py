"""Every kernel of every depthwise layer of models, beside the one that the cost model takes; rounds interleaved.

    python benchmarks/depthwise_kernels.py mobilenet_v1 mobilenet_v2 --target x86-64-v3

Prints microseconds on one core (the least of all runs, with the pointwise convolution after the layer where that may
join), the chosen kernel, and its time beside the fastest one's; then in how many layers it is within 5 % of that.

    python benchmarks/depthwise_kernels.py mobilenet_v1 mobilenet_v2 --alone

leaves the pointwise convolutions out, and has the kernel on 8-bit integers: `gain` is the fastest other's time by its.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import click
import numpy as np

import lwc.ops  # noqa: F401  registers the operators
from lwc.bench.timing import measure
from lwc.graph import shape_of
from lwc.lower.kernel import ATTRIBUTE, KernelTable
from lwc.models.load import load_model
from lwc.models.request import ModelRequest
from lwc.ops import ConvView
from lwc.passes.select_depthwise_kernel import SelectDepthwiseKernel
from lwc.pipeline import Pipeline, run_pipeline
from lwc.targets.kernels import depthwise, gemm, quantized_depthwise, separable
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.depthwise_cost import kernel_costs
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.kernels.requantize import Requantize
from lwc.targets.resolve import resolve_target
from lwc.targets.target import Target
from lwc.trace import trace
from lwc.tvm_api import te, tvm, tvm_target

Shape = tuple[int, ...]
Operand = tuple[Shape, str]
INT8 = "int8"


@dataclass(frozen=True)
class Layer:
    """A depthwise convolution of x of `shape` (N, H, W, C); `outputs` of the pointwise one that may join it."""

    shape: tuple[int, ...]
    window: Window
    outputs: int | None

    def __str__(self) -> str:
        size, kernel = ("x".join(map(str, extents)) for extents in (self.shape[1:], self.window.kernel))
        after = "" if self.outputs is None else f" -> {self.outputs}"
        return f"{size} by {kernel}/{self.window.stride[0]}{after}"


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--target", "target_name", default="native", show_default=True, help="One that runs here.")
@click.option("--alone", is_flag=True, help="Leave the pointwise convolutions out; and INT8.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--repeat", default=30, show_default=True, help="Runs of each in one round.")
def main(names: tuple[str, ...], target_name: str, alone: bool, rounds: int, repeat: int) -> None:
    """Time the depthwise layers of the models NAMES (of `lwc models`)."""
    # TVM reads it when the first kernel runs.
    os.environ["TVM_NUM_THREADS"] = "1"
    target = replace(resolve_target(target_name), cores=1)
    names_of_kernels = (*depthwise.KERNELS, INT8 if alone else separable.NAME)
    headings = (*names_of_kernels, "chosen", "ratio", *(("gain",) if alone else ()))
    print(f"{'layer':28}" + "".join(f"{name:>11}" for name in headings))
    ratios, gains, chosen_total, fastest_total = [], [], 0.0, 0.0
    found = (layer for name in names for layer in layers_of(name, target))
    for layer in dict.fromkeys(replace(layer, outputs=None) if alone else layer for layer in found):
        costs = kernel_costs(layer.shape, layer.window, layer.outputs, target)
        chosen = min(costs, key=lambda name: costs[name])
        runs = runs_of(layer, target) | ({INT8: run_on_integers(layer, target)} if alone else {})
        times = least_times(runs, rounds, repeat)
        fastest = min(time for name, time in times.items() if name != INT8)
        ratios.append(times[chosen] / fastest)
        gains += [fastest / times[INT8]] if alone else []
        chosen_total += times[chosen]
        fastest_total += fastest
        shown = [f"{times[name] * 1e3:.1f}" if name in times else "-" for name in names_of_kernels]
        shown += [chosen, f"{ratios[-1]:.2f}", *(f"{gain:.2f}" for gain in gains[-1:])]
        print(f"{layer!s:28}" + "".join(f"{text:>11}" for text in shown))
    hits = sum(ratio <= 1.05 for ratio in ratios)
    print(f"within 5 % of the fastest in {hits} of {len(ratios)} layers;", end=" ")
    print(f"all together take {chosen_total / fastest_total:.3f} of the fastest's time")
    if alone:
        print(f"INT8: {min(gains):.2f} to {max(gains):.2f} times as fast, {median(gains):.2f} in the median")


def layers_of(name: str, target: Target) -> Iterator[Layer]:
    """The layers of the model `name` that a kernel is chosen for."""
    model = load_model(ModelRequest(name, weights="random"), lambda message: None)
    traced = replace(trace(model.module, model.inputs, model.input_names), target=target)
    program, _ = run_pipeline(Pipeline.parse("default,-select-depthwise-kernel"), traced)
    select = SelectDepthwiseKernel()
    for node, match in select.candidates(program):
        if select.refuse(program, match) is None:
            view = ConvView.of(node)
            height, width = shape_of(view.weight)[2:]
            window = Window((height, width), view.stride, view.padding, view.dilation)
            outputs = None if match.pointwise is None else shape_of(match.pointwise)[-1]
            yield Layer(shape_of(view.x), window, outputs)


def runs_of(layer: Layer, target: Target) -> dict[str, Callable[[], object]]:
    """A call of each kernel by its name, with the pointwise convolution where there is one."""
    plain, window, channels = Epilogue(), layer.window, layer.shape[3]
    taps, bias = (*window.kernel, channels), (channels,)
    runs: dict[str, Callable[[], object]] = {}
    for name in depthwise.KERNELS:
        alone = depthwise.plan(layer.shape, window, plain, target, name)
        runs[name] = built(alone, depthwise.compute, floats(layer.shape, taps, bias), target)
    if layer.outputs is None:
        return runs
    rows = layer.shape[0] * int(np.prod(window.output_size(*layer.shape[1:3])))
    product = gemm.plan(rows, channels, layer.outputs, plain, target)
    shapes = ((rows, channels), packed(product, channels), (product.padded_columns,))
    after = built(product, gemm.compute, floats(*shapes), target)
    both = separable.plan(layer.shape, layer.outputs, window, (plain, plain), target)
    operands = (layer.shape, taps, bias, packed(both, channels), (both.padded_columns,))
    joined = built(both, separable.compute, floats(*operands), target)
    return {name: partial(in_turn, run, after) for name, run in runs.items()} | {separable.NAME: joined}


def run_on_integers(layer: Layer, target: Target) -> Callable[[], object]:
    """A call of the kernel on 8-bit integers."""
    dtype, (height, width), channels = target.quantized_dtype, layer.window.kernel, layer.shape[3]
    limits = np.iinfo(dtype)
    requantize = Requantize(dtype, 0, float(limits.min), float(limits.max))
    kernel = quantized_depthwise.plan(layer.shape, layer.window, dtype, 3, requantize, target, largest=1e6)
    words = quantized_depthwise.pack(kernel, np.ones((channels, 1, height, width), np.int8)).shape
    constants = ((words, "int32"), ((channels,), "int32"), ((channels,), "float32"))
    return built(kernel, quantized_depthwise.compute, ((layer.shape, dtype), *constants), target)


def floats(*shapes: Shape) -> tuple[Operand, ...]:
    """Operands of float32."""
    return tuple((shape, "float32") for shape in shapes)


def packed(kernel: Any, channels: int) -> tuple[int, int, int]:
    """The shape of the packed weights of a product."""
    return kernel.padded_columns // kernel.tile.columns, channels, kernel.tile.columns


def in_turn(*runs: Callable[[], object]) -> None:
    """Run one after another."""
    for run in runs:
        run()


def built(
    kernel: Any, compute: Callable[..., Any], given: tuple[Operand, ...], target: Target
) -> Callable[[], object]:
    """A call of `kernel`, compiled, on `given` operands of ones."""
    operands = [
        te.placeholder(shape, dtype=dtype, name=f"operand{index}")
        for index, (shape, dtype) in enumerate(given)
    ]
    result = compute(kernel, *operands)
    table = KernelTable(target)
    function = te.create_prim_func([*operands, result]).with_attr(ATTRIBUTE, table.index(kernel))
    scheduled = table.schedule(function).with_attr("global_symbol", "main")
    module = tvm.tirx.build(tvm.IRModule({"main": scheduled}), target=tvm_target(target))
    every = (*given, (tuple(int(extent) for extent in result.shape), str(result.dtype)))
    return partial(module["main"], *(tvm.runtime.tensor(np.ones(*operand)) for operand in every))


def least_times(runs: dict[str, Callable[[], object]], rounds: int, repeat: int) -> dict[str, float]:
    """The least milliseconds of each."""
    times = {name: float("inf") for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name] = min(times[name], *measure(run, repeat))
    return times


if __name__ == "__main__":
    main()
