"""Steps of random networks: what transformers do with tokens (N, L, C), between two images."""

from tests.passes.random_graphs import Step, Writer


def attend(writer: Writer) -> None:
    """Attention of one head or more, with a scale or not, with a bias or not; from one layer or from three."""
    draw = writer.random
    name, (n, c, h, w) = writer.pick()
    length, heads, size = h * w, draw.randint(1, 2), draw.randint(1, 3)
    tokens = writer.local(f"{name}.flatten(2).transpose(1, 2)")
    # Of two or three channels the deviation is often so small that rounding errors grow a hundredfold.
    if c >= 4 and writer.chance(0.5):
        tokens = writer.local(f"{writer.layer(f'nn.LayerNorm({c})')}({tokens})")
    form = f".reshape({n}, {length}, {heads}, {{}}).transpose(1, 2)"
    if writer.chance(0.5):
        q, k, v = (
            writer.local(f"{_linear(writer, c, heads * size)}({tokens}){form.format(size)}") for _ in range(3)
        )
    else:
        whole = writer.local(f"{_linear(writer, c, 3 * heads * size)}({tokens}){form.format(3 * size)}")
        parts = writer.local(f"{whole}.split({size}, -1)")
        q, k, v = (f"{parts}[{number}]" for number in range(3))
    scores = f"{q} @ {k}.transpose(-1, -2)" + draw.choice(["", f" * {size**-0.5}", " / 2"])
    if writer.chance(0.4):
        scores += f" + {writer.layer(f'nn.Parameter(torch.zeros({heads}, {length}, {length}))')}"
    mixed = f"(({scores}).softmax(-1) @ {v}).transpose(1, 2).reshape({n}, {length}, {heads * size})"
    if writer.chance(0.3):
        mixed = f"F.hardswish({mixed})"
    projected = f"{_linear(writer, heads * size, c)}({mixed})"
    image = f"{projected}.transpose(1, 2).reshape({n}, {c}, {h}, {w})"
    residual = draw.choice(["", f"{name} + "])
    writer.emit(residual + image, (n, c, h, w), alive=True)


def mix_channels(writer: Writer) -> None:
    """Two linear layers, normalised as LeViT does it or before them, with an activation."""
    name, (n, c, h, w) = writer.pick()
    width = writer.random.randint(1, 6)
    tokens = writer.local(f"{name}.flatten(2).transpose(1, 2)")
    hidden = writer.local(f"{_linear(writer, c, width)}({tokens})")
    if writer.chance(0.6):
        norm = writer.layer(f"nn.BatchNorm1d({width})")
        hidden = writer.local(f"{norm}({hidden}.flatten(0, 1)).reshape_as({hidden})")
    activation = writer.random.choice(["F.silu({})", "F.hardswish({})", "F.gelu({})", "{}"])
    second = _linear(writer, width, c)
    image = f"{second}({activation.format(hidden)}).transpose(1, 2).reshape({n}, {c}, {h}, {w})"
    writer.emit(writer.random.choice(["", f"{name} + "]) + image, (n, c, h, w), alive=True)


def _linear(writer: Writer, inputs: int, outputs: int) -> str:
    return writer.layer(f"nn.Linear({inputs}, {outputs}, bias={writer.chance(0.7)})")


STEPS: list[Step] = [attend, attend, mix_channels]
