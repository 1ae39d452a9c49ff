"""The model's own name of a layer, on the way from its graph through TVM to the calls of kernels.

torch.export notes the module that each node is from, and passes keep that. TVM keeps the names of variables.
"""

from typing import Any

from torch import fx

_MARK = "layer:"


def layer_name(node: fx.Node) -> str:
    """The path of the module that `node` is from, as in `encoder.layer.0.convolution`; empty where none is noted."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()))[0] if stack else ""
    # `model` is what lwc itself wraps the user's module in.
    return str(path).removeprefix("model.")


def variable_name(layer: str) -> str:
    """The name of a Relax variable that holds the result of `layer`; TVM's own choice where it is empty."""
    # TVM replaces dots, and adds a number to a name that it has already.
    return f"{_MARK}{layer.replace('.', '/')}/" if layer else ""


def layer_of(variable: Any) -> str:
    """The layer that `variable` is named after; empty where it is not."""
    name = str(variable.name)
    path, _, _ = name.removeprefix(_MARK).rpartition("/")
    return path.replace("/", ".") if name.startswith(_MARK) else ""
