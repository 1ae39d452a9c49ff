"""Parts of TensorIR rebuilt around a new body: TVM's Python interface has no mutator of statements."""

from typing import Any

from lwc.tvm_api import s_tir, tirx


def with_block_body(block: Any, body: Any) -> Any:
    """The block with another body."""
    return s_tir.SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        body,
        block.init,
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )


def with_loop_body(loop: Any, body: Any, annotations: Any = None) -> Any:
    """The loop with another body, and with other annotations where they are given."""
    kept = loop.annotations if annotations is None else annotations
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, kept)
