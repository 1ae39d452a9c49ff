"""The model's own name of a layer, on the way from its graph through TVM to the calls of kernels.

torch.export notes the module that each node is from, and passes keep that. TVM keeps the names of variables.
"""

from typing import Any

from torch import fx

from lwc.models.architecture import LogitsOnly

_MARK = "layer:"
_WRAPPER = f"{LogitsOnly.__module__}.{LogitsOnly.__qualname__}"


def layer_name(node: fx.Node) -> str:
    """The path of the module that `node` is from, as in `encoder.layer.0.convolution`; empty where none is noted."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    (_, root), (path, _) = stack[0], stack[-1]
    return str(path).removeprefix("model.") if root == _WRAPPER else str(path)


def variable_name(layer: str) -> str:
    """The name of a Relax variable that holds the result of `layer`; TVM's own choice where it is empty."""
    # TVM replaces dots, and adds a number to a name that it has already.
    return f"{_MARK}{layer.replace('.', '/')}/" if layer else ""


def layer_of(variable: Any) -> str:
    """The layer that `variable` is named after; empty where it is not."""
    name = str(variable.name)
    path, _, _ = name.removeprefix(_MARK).rpartition("/")
    return path.replace("/", ".") if name.startswith(_MARK) else ""
