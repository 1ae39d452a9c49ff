"""The zero border of a convolution's input, built a block of rows at a time beside the arithmetic that reads it."""

from typing import Any

from lwc.tvm_api import te, tirx


def padded_input(x: Any, top: int, left: int, height: int, width: int, layout: str) -> Any:
    """x (N, H, W, C) or (N, C, H, W) as a (height, width) window that starts `top`, `left` before its first pixel.

    Pixels outside x are zero. The caller computes this block inside the loop over output rows,
    so that only the rows in use ever exist, in cache.
    """
    nhwc = layout == "NHWC"
    batch = int(x.shape[0])
    rows, columns, channels = (int(x.shape[a]) for a in ((1, 2, 3) if nhwc else (2, 3, 1)))

    def pixel(n: Any, h: Any, w: Any, c: Any) -> Any:
        source = x[n, h - top, w - left, c] if nhwc else x[n, c, h - top, w - left]
        inside = [h >= top, h < top + rows, w >= left, w < left + columns]
        return tirx.if_then_else(tirx.all(*inside), source, tirx.const(0, "float32"))

    if nhwc:
        return te.compute((batch, height, width, channels), pixel, name="padded")
    return te.compute((batch, channels, height, width), lambda n, c, h, w: pixel(n, h, w, c), name="padded")
