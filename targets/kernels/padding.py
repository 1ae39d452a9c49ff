"""The zero border of a convolution's input: a test at each pixel, or a block of rows built beside what reads it."""

from typing import Any

from lwc.tvm_api import te, tirx


def pixel_or_zero(x: Any, n: Any, h: Any, w: Any, c: Any, layout: str = "NHWC") -> Any:
    """The value of x, (N, H, W, C) or (N, C, H, W), at row h and column w; zero where these lie outside x."""
    nhwc = layout == "NHWC"
    rows, columns = (int(x.shape[a]) for a in ((1, 2) if nhwc else (2, 3)))
    inside = tirx.all(h >= 0, h < rows, w >= 0, w < columns)
    return tirx.if_then_else(inside, x[n, h, w, c] if nhwc else x[n, c, h, w], tirx.const(0, x.dtype))


def padded_input(x: Any, top: int, left: int, height: int, width: int, layout: str) -> Any:
    """x (N, H, W, C) or (N, C, H, W) as a (height, width) window that starts `top`, `left` before its first pixel.

    Pixels outside x are zero. The caller computes this block inside the loop over output rows,
    so that only the rows in use ever exist, in cache.
    """
    batch, channels = int(x.shape[0]), int(x.shape[3 if layout == "NHWC" else 1])

    def pixel(n: Any, h: Any, w: Any, c: Any) -> Any:
        return pixel_or_zero(x, n, h - top, w - left, c, layout)

    if layout == "NHWC":
        return te.compute((batch, height, width, channels), pixel, name="padded")
    return te.compute((batch, channels, height, width), lambda n, c, h, w: pixel(n, h, w, c), name="padded")
