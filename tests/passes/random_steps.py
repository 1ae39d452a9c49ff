"""Steps of random networks: what stands between layers."""

from tests.passes import random_attention, random_convolutions
from tests.passes.random_graphs import Step, Writer

# {x} is the image, {low} and {high} are random bounds.
ACTIVATIONS = (
    "F.relu({x})",
    "F.relu6({x})",
    "F.silu({x})",
    "F.hardswish({x})",
    "F.hardsigmoid({x})",
    "F.gelu({x})",
    "F.gelu({x}, approximate='tanh')",
    "torch.sigmoid({x})",
    "torch.tanh({x})",
    "F.leaky_relu({x}, 0.1)",
    "torch.clamp({x}, min={low:.3f})",
    "F.hardtanh({x}, {low:.3f}, {high:.3f})",
)
# The same in other words.
SPELLED_OUT = (
    "torch.clamp_max(F.relu({x}), {high:.3f})",
    "torch.clamp_min(torch.clamp_max({x}, {high:.3f}), {low:.3f})",
    "torch.minimum(torch.clamp({x}, min={low:.3f}), torch.full((1,), {high:.3f}))",
    "{x} * F.relu6({x} + 3) / 6",
    "F.relu6({x} + 3) / 6",
    "{x} * torch.sigmoid({x})",
)


def normalize(writer: Writer) -> None:
    """A batch norm."""
    name, shape = writer.pick()
    affine = writer.random.choice([True, True, False])
    norm = writer.layer(f"nn.BatchNorm2d({shape[1]}, affine={affine})")
    writer.emit(f"{norm}({name})", shape, alive=True)


def activate(writer: Writer) -> None:
    """An activation with random bounds."""
    _activate(writer, ACTIVATIONS)


def spell_out(writer: Writer) -> None:
    """An activation in other words."""
    _activate(writer, SPELLED_OUT)


def _activate(writer: Writer, forms: tuple[str, ...]) -> None:
    name, shape = writer.pick()
    low = writer.random.uniform(-1, 0.5)
    writer.emit(writer.random.choice(forms).format(x=name, low=low, high=low + 1), shape)


def add(writer: Writer) -> None:
    """A residual, or another operator of two images."""
    name, shape = writer.pick()
    others = [other for other, its in writer.images.items() if its == shape]
    operator = writer.random.choice("++-*")
    writer.emit(f"{name} {operator} {writer.random.choice(others)}", shape)


def skip(writer: Writer) -> None:
    """A residual around a convolution or a linear layer, and an activation or none after the sum."""
    name, (n, c, h, w) = writer.pick()
    form = writer.random.choice(
        [
            f"{writer.layer(f'nn.Conv2d({c}, {c}, 3, padding=1)')}({name})",
            f"{writer.layer(f'nn.Conv2d({c}, {c}, 1, bias=False)')}({name})",
            f"{writer.layer(f'nn.Conv2d({c}, {c}, 3, padding=1, groups={c})')}({name})",
            f"{writer.layer(f'nn.Linear({w}, {w})')}({name})",
            f"{writer.layer(f'nn.Conv2d({c}, {c}, 1)')}(F.hardswish({name}))",
        ]
    )
    total = writer.random.choice([f"{form} + {name}", f"{name} + {form}", f"torch.tanh({name}) + {form}"])
    writer.emit(writer.random.choice([total, f"F.silu({total})"]), (n, c, h, w), alive=True)


def concatenate(writer: Writer) -> None:
    """Two images' channels; not too many."""
    name, (n, c, h, w) = writer.pick()
    others = [other for other, its in writer.images.items() if its[2:] == (h, w) and its[1] + c <= 12]
    if others:
        other = writer.random.choice(others)
        writer.emit(f"torch.cat([{name}, {other}], 1)", (n, c + writer.images[other][1], h, w))


def pool(writer: Writer) -> None:
    """A gate by channel, or pooling."""
    name, (n, c, h, w) = writer.pick()
    if writer.chance(0.5) or min(h, w) < 2:
        writer.emit(f"{name} * torch.sigmoid({name}.mean((2, 3), keepdim=True))", (n, c, h, w))
        return
    kind = writer.random.choice(["max_pool2d", "avg_pool2d"])
    writer.emit(f"F.{kind}({name}, 2)", (n, c, h // 2, w // 2))


def simplify(writer: Writer) -> None:
    """What a compiler should see through: nothing, a constant, or the same twice."""
    name, (n, c, h, w) = writer.pick()
    forms = (
        f"F.dropout({name}, training=False).reshape({n}, {c}, {h}, {w})",
        f"{name} + torch.arange({w}) * 0.1",
        f"torch.sin({name}) * torch.sin({name})",
    )
    writer.emit(writer.random.choice(forms), (n, c, h, w))


STEPS: list[Step] = [
    *random_convolutions.STEPS,
    *random_attention.STEPS,
    normalize,
    normalize,
    activate,
    activate,
    spell_out,
    spell_out,
    add,
    skip,
    concatenate,
    pool,
    simplify,
]
