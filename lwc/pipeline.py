"""Passes, the pipeline that runs them, and the one hook between them."""

import difflib
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from lwc.errors import UsageError
from lwc.trace import Program


@dataclass(frozen=True)
class Refusal:
    """Why a pass left a candidate as it was, in one sentence."""

    node: str
    reason: str


@dataclass(frozen=True)
class PassResult:
    """How often a pass rewrote, and what it refused."""

    count: int
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class Pass:
    """A rewrite of the graph.

    A subclass's fields are its options; `requires` names the passes it needs before it.
    """

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()

    def run(self, program: Program) -> PassResult:
        """Rewrite `program.module.graph` in place; the pipeline does the rest (shapes, lint, dead code)."""
        raise AssertionError(f"{type(self).__name__} does not define run")

    def __str__(self) -> str:
        options = ",".join(
            f"{f.name.replace('_', '-')}={getattr(self, f.name)}"
            for f in fields(self)
            if getattr(self, f.name) != f.default
        )
        return f"{self.name}{{{options}}}" if options else self.name


@dataclass(frozen=True)
class PassRecord:
    """What one pass did, and for how long (seconds)."""

    name: str
    count: int
    refusals: tuple[Refusal, ...]
    seconds: float


Hook = Callable[[int, str, Program, Program], None]

# name -> "module:class", imported when asked for.
PASSES = {
    "remove-identities": "lwc.passes.remove_identities:RemoveIdentities",
    "fold-constants": "lwc.passes.fold_constants:FoldConstants",
    "raise-operators": "lwc.passes.raise_operators:RaiseOperators",
    "fold-padding": "lwc.passes.fold_padding:FoldPadding",
    "fold-batch-norm": "lwc.passes.fold_batch_norm:FoldBatchNorm",
    "decompose-batch-norm": "lwc.passes.decompose_batch_norm:DecomposeBatchNorm",
    "fuse-activation": "lwc.passes.fuse_activation:FuseActivation",
    "convert-layout": "lwc.passes.convert_layout:ConvertLayout",
    "merge-transposes": "lwc.passes.merge_transposes:MergeTransposes",
}

# The order in which they run by default.
DEFAULT = (
    # First, so that no later pattern has to look through dropout and no-op copies.
    "remove-identities",
    "fold-constants",
    # ATen's convolution has no asymmetric padding, no layout and no activation: the next ones need lwc's.
    "raise-operators",
    "fold-padding",
    "fold-batch-norm",
    # What could not be folded becomes a multiplication and an addition.
    "decompose-batch-norm",
    # After the batch norm, which stands between a convolution and its activation.
    "fuse-activation",
    # Late: the patterns above are written for NCHW.
    "convert-layout",
    # What is left of its transposes meets the model's own, such as MobileViT's patches.
    "merge-transposes",
    "fold-constants",
)


def make_pass(name: str, options: dict[str, str] | None = None) -> Pass:
    """The pass called `name`. Raises UsageError for an unknown name or option, or a malformed value."""
    if name not in PASSES:
        near = difflib.get_close_matches(name, PASSES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(PASSES)}"
        raise UsageError(f"pass {name!r}: unknown; {hint}")
    module, _, attribute = PASSES[name].partition(":")
    kind = getattr(import_module(module), attribute)
    defaults: dict[str, Any] = {f.name.replace("_", "-"): f.default for f in fields(kind)}
    values: dict[str, Any] = {}
    for key, text in (options or {}).items():
        if key not in defaults:
            raise UsageError(f"pass {name!r}: no option {key!r}; it has {', '.join(defaults) or 'none'}")
        type_ = type(defaults[key])
        try:
            values[key.replace("-", "_")] = _boolean(text) if type_ is bool else type_(text)
        except ValueError:
            raise UsageError(f"pass {name!r}: option {key}={text} is not {type_.__name__}") from None
    made = kind(**values)
    assert isinstance(made, Pass)
    return made


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


@dataclass(frozen=True)
class Pipeline:
    """Passes in the order in which they run; its text form is what `--passes` takes."""

    passes: tuple[Pass, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for item in self.passes:
            for needed in item.requires:
                if needed not in seen:
                    raise UsageError(
                        f"pass {item.name!r}: needs {needed!r} before it; add it, or leave both out"
                    )
            seen.add(item.name)

    @classmethod
    def parse(cls, text: str) -> "Pipeline":
        """From `default`, `default,-fuse-activation` or a list such as `fold-constants{max-elements=9}`."""
        items: list[Pass] = []
        for word in _split(text):
            if word == "default":
                items += [make_pass(name) for name in DEFAULT]
            elif word.startswith("-"):
                items = _without(make_pass(word[1:]).name, items)
            else:
                items.append(make_pass(*_options(word)))
        return cls(tuple(items))

    def __str__(self) -> str:
        return ",".join(map(str, self.passes))


def _without(name: str, items: list[Pass]) -> list[Pass]:
    left = [item for item in items if item.name != name]
    if len(left) == len(items):
        raise UsageError(f"pass {name!r}: not in the list before '-{name}'; remove it after it is added")
    return left


def _split(text: str) -> list[str]:
    """The words between commas that are not inside braces."""
    words, depth = [""], 0
    for character in text:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth not in (0, 1):
            raise UsageError(f"passes {text!r}: braces do not match; write pass{{option=value}}")
        if character == "," and depth == 0:
            words.append("")
        else:
            words[-1] += character
    words = [word.strip() for word in words]
    if depth or not all(words):
        raise UsageError(f"passes {text!r}: malformed; write a,b{{option=value}},c")
    return words


def _options(word: str) -> tuple[str, dict[str, str]]:
    name, brace, rest = word.partition("{")
    if not brace:
        return name, {}
    options: dict[str, str] = {}
    inside, _, after = rest.partition("}")
    for item in inside.split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or after:
            raise UsageError(f"passes: {word!r} is malformed; write {name}{{option=value}}")
        if key in options:
            raise UsageError(f"pass {name!r}: option {key!r} is given twice; give it once")
        options[key] = value
    return name, options


def run_pipeline(
    pipeline: Pipeline, program: Program, hooks: tuple[Hook, ...] = ()
) -> tuple[Program, tuple[PassRecord, ...]]:
    """Run each pass on a copy of `program`, each hook(position, name, before, after) once after it.

    The program that a hook gets as `before` shares its parameters with `after`, not its graph.
    """
    program = Program(deepcopy(program.module), program.inputs, program.input_names)
    records = []
    refresh(program)
    for position, item in enumerate(pipeline.passes, start=1):
        before = Program(_snapshot(program.module), program.inputs, program.input_names) if hooks else program
        start = time.perf_counter()
        result = item.run(program)
        refresh(program)
        records.append(PassRecord(item.name, result.count, result.refusals, time.perf_counter() - start))
        for hook in hooks:
            hook(position, item.name, before, program)
    return program, tuple(records)


def _snapshot(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    return torch.fx.GraphModule(module, deepcopy(module.graph))


def refresh(program: Program) -> None:
    """Remove dead nodes and unused parameters, check the graph, and compute every node's shape anew."""
    module = program.module
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    _drop_unused_tensors(module)
    module.graph.lint()
    module.recompile()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad():
        FakeTensorProp(module, mode).propagate(*program.inputs)


def _drop_unused_tensors(module: torch.fx.GraphModule) -> None:
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    # Under each of its names, where it has several.
    tensors = (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    )
    for path in {name for name, _ in tensors} - used:
        owner, _, name = path.rpartition(".")
        delattr(module.get_submodule(owner), name)
