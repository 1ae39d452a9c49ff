"""Relax's part of lowering: plain operators become TensorIR functions, chains of them one function."""

from lwc.tvm_api import relax, tvm


def lower_relax(module: tvm.IRModule) -> tvm.IRModule:
    """`module` with nothing left in `main` but calls of TensorIR functions, reshapes and tuples."""
    steps = [
        relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
        relax.transform.RewriteDataflowReshape(),
    ]
    return tvm.transform.Sequential(steps)(module)
