"""`package.module:factory`: the user's own code that makes a model."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import fx, nn

from lwc.errors import STOPS, BadInputError, LwcError, UnsupportedError
from lwc.files import one_line
from lwc.models.names import model_name, unique_identifiers
from lwc.models.request import LoadedModel

_CONTRACT = "return (module, example_inputs)"


def load_factory(text: str, seed: int = 0) -> LoadedModel:
    """The model that the callable `text` ("package.module:factory") returns; this runs the user's code.

    PyTorch's random numbers begin at `seed` there, so that weights drawn with them are the same each time.

    Raises BadInputError where it cannot be imported, fails, or returns something else than (module, example
    inputs); UnsupportedError where the module does not map float32 tensors to float32 tensors.
    """
    module_name, _, attribute = text.partition(":")
    with _current_directory_importable():
        factory = _import(text, module_name, attribute)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                returned = factory()
        except STOPS:
            raise
        except BaseException as error:
            raise BadInputError(
                f"{text}: raised {type(error).__name__}: {one_line(error)}; correct it"
            ) from error
        module, inputs = _unpack(text, returned)
        outputs = _probe(text, module, inputs)
    return LoadedModel(
        name=model_name(attribute),
        source=text,
        module=module,
        inputs=inputs,
        input_names=("input",) if len(inputs) == 1 else _numbered("input", len(inputs)),
        output_names=("output",) if outputs == 1 else _numbered("output", outputs),
        input_layouts=("dims",) * len(inputs),
        output_layouts=("dims",) * outputs,
        preprocessing=None,
        labels=None,
        weights="file",
    )


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    """As with `python -m`; a console script has its own folder there instead."""
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = before


def _import(text: str, module_name: str, attribute: str) -> Any:
    try:
        module = import_module(module_name)
    except STOPS:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        raise BadInputError(
            f"{text}: there is no module {missing!r}; check the name and the folder"
        ) from None
    except BaseException as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise BadInputError(f"{text}: importing {module_name} raised {reason}; correct it") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        what = "has no" if factory is None else "cannot call its"
        raise BadInputError(f"{text}: module {module_name} {what} {attribute!r}; name a function that it has")
    return factory


def _unpack(text: str, returned: Any) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[0], nn.Module):
        raise BadInputError(
            f"{text}: returned a {type(returned).__name__}, no pair with a module; {_CONTRACT}"
        )
    module, inputs = returned
    inputs = (inputs,) if isinstance(inputs, torch.Tensor) else inputs
    if not isinstance(inputs, tuple | list) or not all(isinstance(item, torch.Tensor) for item in inputs):
        raise BadInputError(f"{text}: example inputs are not a tuple of tensors; {_CONTRACT}")
    if not inputs:
        raise BadInputError(f"{text}: returned no example inputs; {_CONTRACT}")
    for index, item in enumerate(inputs):
        if item.dtype != torch.float32 or item.numel() == 0 or item.dim() == 0:
            shape = tuple(item.shape)
            raise UnsupportedError(
                f"{text}: example input {index} is {item.dtype} of shape {shape}; give it float32 elements"
            )
    return _in_eval_mode(module), tuple(item.detach().contiguous() for item in inputs)


def _in_eval_mode(module: nn.Module) -> nn.Module:
    try:
        return module.eval()
    # An exported module, such as PyTorch's quantization gives, stays in the mode in which it was exported.
    except NotImplementedError:
        if not isinstance(module, fx.GraphModule):
            raise
        return module


def _probe(text: str, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    """The number of outputs, by running the module once."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise UnsupportedError(f"{text}: {name} is {tensor.dtype}; call .float() on the module")
    try:
        with torch.no_grad():
            result = module(*inputs)
    except (LwcError, *STOPS):
        raise
    except BaseException as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise BadInputError(
            f"{text}: the module fails on its example inputs ({reason}); correct it"
        ) from error
    outputs = result if isinstance(result, tuple) else (result,)
    for item in outputs:
        if not isinstance(item, torch.Tensor) or item.dtype != torch.float32:
            what = f"a {item.dtype} tensor" if isinstance(item, torch.Tensor) else f"a {type(item).__name__}"
            raise UnsupportedError(
                f"{text}: the module returns {what}; return float32 tensors, or a tuple of them"
            )
    if not outputs:
        raise UnsupportedError(f"{text}: the module returns nothing; return a tensor")
    return len(outputs)


def _numbered(word: str, count: int) -> tuple[str, ...]:
    return unique_identifiers([f"{word}_{index}" for index in range(count)], word)
