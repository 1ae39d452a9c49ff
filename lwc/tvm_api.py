"""The one place that names TVM's modules: their paths move between releases."""

import tempfile
from pathlib import Path

import tvm
from tvm import relax, s_tir, te, tirx, topi
from tvm.ir import register_op_attr
from tvm.ir.expr import GenericConst as TensorConstant
from tvm.relax.frontend.torch import from_exported_program
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter
from tvm.s_tir import Schedule, ScheduleError
from tvm.tirx import register_intrin_lowering

from lwc.errors import UsageError
from lwc.targets.target import Target

__all__ = [
    "Schedule",
    "ScheduleError",
    "TensorConstant",
    "borrowed_bytes",
    "build_object",
    "check_cpu",
    "from_exported_program",
    "importer_operators",
    "register_intrin_lowering",
    "register_op_attr",
    "relax",
    "s_tir",
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
