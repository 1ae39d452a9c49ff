"""What a kernel has to do, in words that equal layers of all models share: the key of a tuning record."""

from typing import Any

from lwc.tune.alone import LayerCall, Operand
from lwc.tune.records import canonical_json

_ANY = "any"


def describe(call: LayerCall) -> str:
    """Canonical JSON: the operator, shapes and types of its tensors, and the arguments that code depends on.

    Real numbers and zero points are constants in the code, whatever they are: only whether there is one counts.
    """
    arguments = {name: _word(name, value) for name, value in call.arguments.items()}
    text = {"operator": call.operator, "result": call.result, "arguments": arguments}
    return canonical_json(text)


def _word(name: str, value: Any) -> Any:
    if isinstance(value, Operand):
        kind = "computed" if value.value is None else "constant"
        return [kind, value.dtype, *value.shape]
    if isinstance(value, float) or (isinstance(value, int) and name.endswith("zero_point")):
        return _ANY
    return value
