"""The one place that names TVM's modules: their paths move between releases."""

import tempfile
from pathlib import Path

import tvm
from tvm import relax, s_tir, te, tirx, topi
from tvm.ir import register_op_attr
from tvm.ir.expr import GenericConst as TensorConstant
from tvm.relax.frontend.torch import from_exported_program
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter
from tvm.s_tir import Schedule, ScheduleError, TensorIntrin
from tvm.script import tirx as script
from tvm.tirx import register_intrin_lowering
from tvm.tirx.build import split_host_device_mods
from tvm_ffi import structural_map, structural_walk

from lwc.errors import UsageError
from lwc.targets.target import Target

__all__ = [
    "Schedule",
    "ScheduleError",
    "TensorConstant",
    "TensorIntrin",
    "borrowed_bytes",
    "build_object",
    "check_cpu",
    "cuda_code",
    "from_exported_program",
    "importer_operators",
    "register_intrin_lowering",
    "register_op_attr",
    "relax",
    "s_tir",
    "script",
    "structural_map",
    "structural_walk",
    "te",
    "tirx",
    "topi",
    "tvm",
    "tvm_target",
]


def tvm_target(target: Target) -> tvm.target.Target:
    """TVM's description of `target`, without its name: equal machines give equal code."""
    return tvm.target.Target(
        {
            "kind": "llvm",
            "mtriple": target.triple,
            "mcpu": target.cpu,
            "mattr": list(target.features),
            "num-cores": target.cores,
        }
    )


def cuda_code(functions: dict[str, tirx.PrimFunc], target: Target) -> tuple[tvm.IRModule, tvm.IRModule, str]:
    """What TVM makes of functions that are bound to blocks and threads, for the GPU of `target`.

    Gives the functions that launch (of the processor), the kernels, and CUDA C of these with TVM's own head.
    Needs neither CUDA nor a GPU. Raises ValueError where `target` has no GPU.
    """
    if target.gpu is None:
        raise ValueError(f"target {target.name!r} has no GPU")
    device = tvm.target.Target(
        {
            "kind": "cuda",
            "arch": target.gpu.architecture,
            "max_threads_per_block": target.gpu.block_threads,
            "max_shared_memory_per_block": target.gpu.shared_bytes,
            "thread_warp_size": target.gpu.warp,
        },
        host=tvm_target(target),
    )
    module = tvm.IRModule(
        {name: function.with_attr("global_symbol", name) for name, function in functions.items()}
    )
    lower, _, finish = tirx.get_default_tir_pipeline(device)
    # Unrolled loops (`#pragma unroll`) and common expressions are left to the compiler.
    options = {
        "tirx.disable_assert": True,
        "tirx.disable_cse_tir": True,
        "tirx.UnrollLoop": {"explicit_unroll": False},
    }
    with tvm.transform.PassContext(config=options):
        launching, kernels = split_host_device_mods(lower(tirx.transform.BindTarget(device)(module)))
        compute = next(iter(kernels.values()), tvm.IRModule({}))
        return launching, compute, _printed(finish()(compute), device)


def _printed(kernels: tvm.IRModule, device: tvm.target.Target) -> str:
    """CUDA C of `kernels`: TVM would compile it at once by a function that it looks up by name."""
    name = "tvm_callback_cuda_compile"
    usual = tvm.get_global_func(name)
    tvm.register_global_func(name, lambda code, _: code, override=True)
    try:
        return str(tvm.get_global_func("target.build.cuda")(kernels, device).inspect_source())
    finally:
        tvm.register_global_func(name, usual, override=True)


def check_cpu(target: Target) -> None:
    """Raises UsageError where LLVM has no processor of the name `target.cpu`, or not one of `target.features`."""
    if not tvm.target.codegen.llvm_is_valid_cpu(target.cpu, target.triple):
        raise UsageError(
            f"target {target.name!r}: cpu {target.cpu!r} is unknown to LLVM for {target.triple}; leave it out"
        )
    enabled = set(map(str, tvm.target.codegen.llvm_get_cpu_features(tvm_target(target))))
    for feature in target.features:
        if feature.startswith("+") and feature[1:] not in enabled:
            raise UsageError(
                f"target {target.name!r}: feature {feature!r} is unknown to LLVM for {target.triple}; leave it out"
            )


def build_object(functions: dict[str, tirx.PrimFunc], target: Target) -> bytes:
    """Compile `functions` into one relocatable ELF object.

    Each becomes the C symbol `__tvm_ffi_<key>`: int (void *self, TVMFFIAny *arguments, int count, TVMFFIAny *result).
    """
    module = tvm.IRModule(
        {name: function.with_attr("global_symbol", name) for name, function in functions.items()}
    )
    # The calls are static: checks of shapes and types in every kernel would double the code.
    with tvm.transform.PassContext(config={"tirx.disable_assert": True}):
        library = tvm.tirx.build(module, target=tvm_target(target))
    with tempfile.TemporaryDirectory(prefix="lwc-") as folder:
        path = Path(folder) / "kernels.o"
        library.write_to_file(str(path), "o")
        return path.read_bytes()


def borrowed_bytes(function: tirx.PrimFunc) -> int:
    """How much memory a thread that runs a scheduled function allocates beside its stack, at most."""
    lowering = tvm.transform.Sequential(
        [
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.CompactBufferAllocation(),
            s_tir.transform.LowerOpaqueBlock(),
        ]
    )
    lowered = lowering(tvm.IRModule({"main": function}))["main"]
    scopes = s_tir.analysis.calculate_allocated_bytes(lowered)["main"]
    return int(scopes.get("global", 0))


def importer_operators() -> frozenset[str]:
    """The operators that TVM's importer takes, by its keys: `conv2d.default`."""
    return frozenset(ExportedProgramImporter().create_convert_map())
