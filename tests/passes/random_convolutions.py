"""Steps of random networks: convolutions of all kinds."""

from tests.passes.random_graphs import Step, Writer

Pair = tuple[int, int]


def convolve(writer: Writer) -> None:
    """Plain, grouped, depthwise, dilated, strided; with a padding before it or not."""
    draw = writer.random
    name, (n, c, h, w) = writer.pick()
    pads = (0, 0, 0, 0)
    if writer.chance(0.3):
        pads = (draw.randint(0, 2), draw.randint(0, 2), draw.randint(0, 2), draw.randint(0, 2))
    text = name if pads == (0, 0, 0, 0) else f"F.pad({name}, {pads})"
    h, w = h + pads[2] + pads[3], w + pads[0] + pads[1]
    kernel = (1, 1) if writer.chance(0.3) else (draw.choice([1, 2, 3, 5]), draw.choice([1, 2, 3, 5]))
    own = (draw.randint(0, kernel[0] // 2), draw.randint(0, kernel[1] // 2))
    dilation, stride = _pair(writer, [1, 1, 2]), _pair(writer, [1, 1, 2, 3])
    if not _fits((h, w), kernel, own, dilation):
        kernel, own, dilation = (1, 1), (0, 0), (1, 1)
    groups = _groups(writer, c)
    outputs = groups * draw.randint(1, max(1, 6 // groups))
    bias = draw.choice([True, False])
    layer = writer.layer(
        f"nn.Conv2d({c}, {outputs}, {kernel}, stride={stride}, padding={own}, "
        f"dilation={dilation}, groups={groups}, bias={bias})"
    )
    rows, columns = (
        (extent + 2 * p - d * (k - 1) - 1) // s + 1
        for extent, p, d, k, s in zip((h, w), own, dilation, kernel, stride, strict=True)
    )
    shape = (n, outputs, rows, columns)
    writer.emit(f"{layer}({text})", shape, alive=bias)
    writer.layers.append((layer, (n, c, h, w), shape))


def convolve_back(writer: Writer) -> None:
    """A transposed convolution."""
    draw = writer.random
    name, (n, c, h, w) = writer.pick()
    kernel, stride, dilation = (_pair(writer, choices) for choices in ([1, 2, 3], [1, 2], [1, 1, 2]))
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    # At least one row and one column are left.
    own = (draw.randint(0, reach[0] // 2), draw.randint(0, reach[1] // 2))
    extra = (draw.randint(0, stride[0] - 1), draw.randint(0, stride[1] - 1))
    groups = _groups(writer, c)
    outputs = groups * draw.randint(1, max(1, 6 // groups))
    layer = writer.layer(
        f"nn.ConvTranspose2d({c}, {outputs}, {kernel}, stride={stride}, padding={own}, output_padding={extra}, "
        f"groups={groups}, bias={draw.choice([True, False])}, dilation={dilation})"
    )
    rows, columns = (
        (extent - 1) * s - 2 * p + r + e + 1
        for extent, s, p, r, e in zip((h, w), stride, own, reach, extra, strict=True)
    )
    # Smaller again, that networks do not grow without end.
    shape = (n, outputs, min(rows, 8), min(columns, 8))
    normalised = f"{writer.layer(f'nn.BatchNorm2d({outputs})')}({layer}({name}))"
    writer.emit(f"{normalised}[:, :, :8, :8]", shape, alive=True)


def convolve_again(writer: Writer) -> None:
    """A convolution that the network has, on another image: its weights are shared."""
    fits = [
        (layer, name, output)
        for layer, wanted, output in writer.layers
        for name, shape in writer.images.items()
        if shape == wanted
    ]
    if fits:
        layer, name, shape = writer.random.choice(fits)
        writer.emit(f"{layer}({name})", shape)


def convolve_pruned(writer: Writer) -> None:
    """Two convolutions, of whose channels in between some have no weights."""
    name, (n, c, h, w) = writer.pick()
    kept = [1, *(writer.random.randint(0, 1) for _ in range(3))]
    mask = writer.layer(f"nn.Buffer(torch.tensor({kept}).reshape(4, 1, 1, 1))")
    first, second = writer.layer(f"nn.Conv2d({c}, 4, 1)"), writer.layer("nn.Conv2d(4, 2, 1)")
    hidden = writer.local(f"F.conv2d({name}, {first}.weight * {mask}, {first}.bias)")
    writer.emit(f"{second}(F.relu({hidden}))", (n, 2, h, w), alive=True)


def convolve_normalized(writer: Writer) -> None:
    """A batch norm that only a convolution reads, after an activation."""
    name, (n, c, h, w) = writer.pick()
    norm, layer = writer.layer(f"nn.BatchNorm2d({c})"), writer.layer(f"nn.Conv2d({c}, 3, 1)")
    writer.emit(f"{layer}({norm}(F.silu({name})))", (n, 3, h, w), alive=True)


def _pair(writer: Writer, choices: list[int]) -> Pair:
    return writer.random.choice(choices), writer.random.choice(choices)


def _groups(writer: Writer, channels: int) -> int:
    return writer.random.choice([d for d in range(1, channels + 1) if channels % d == 0] + [1, channels])


def _fits(extents: Pair, kernel: Pair, own: Pair, dilation: Pair) -> bool:
    return all(
        extent + 2 * p > d * (k - 1) for extent, k, p, d in zip(extents, kernel, own, dilation, strict=True)
    )


STEPS: list[Step] = [
    *[convolve] * 5,
    convolve_back,
    convolve_again,
    convolve_pruned,
    convolve_normalized,
]
