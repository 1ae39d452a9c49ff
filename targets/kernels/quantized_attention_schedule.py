"""The schedule of quantized_attention.py: that of attention.py, and what the offsets of stored bytes add to sums."""

from lwc.targets.kernels.attention_schedule import schedule_blocks, schedule_sums, schedule_values
from lwc.targets.kernels.quantized_attention import QuantizedAttention
from lwc.tvm_api import Schedule


def schedule(sch: Schedule, kernel: QuantizedAttention) -> None:
    """Tasks, blocks of queries and register tiles for the function that `compute` gave."""
    attention = kernel.attention
    task = schedule_blocks(sch, attention, ("key_offset",) if kernel.key_offset else ())
    if kernel.weight_offset:
        schedule_sums(sch, sch.get_sblock("weight_offset"), task, attention.value_tile.lanes)
    schedule_values(sch, attention, task)
