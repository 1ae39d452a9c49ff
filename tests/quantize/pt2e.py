"""Models that PyTorch quantized (PT2E), after training or in it, as their users make them."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

Sample = tuple[torch.Tensor, ...]
# By what each is for; the last has one scale for all channels of a weight.
QUANTIZERS = ("x86", "xnnpack", "xnnpack by tensor")


@contextmanager
def quiet() -> Iterator[None]:
    """torchao warns of GPU libraries that are not there, and of its own deprecations."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def quantizer(name: str, in_training: bool = False) -> Any:
    """A quantizer of torchao's with its own rules for everything."""
    with quiet():
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86
        from torchao.testing.pt2e._xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
    if name == "x86":
        config = x86.get_default_x86_inductor_quantization_config(is_qat=in_training)
        return x86.X86InductorQuantizer().set_global(config)
    by_channel = name == "xnnpack"
    config = get_symmetric_quantization_config(is_per_channel=by_channel, is_qat=in_training)
    return XNNPACKQuantizer().set_global(config)


def quantized_after_training(
    net: nn.Module, samples: Sequence[Sample], name: str, fold: bool = True
) -> nn.Module:
    """`net` (in eval mode) with ranges measured on `samples`; `fold`: its weights are stored as integers."""
    with quiet():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        prepared = prepare_pt2e(torch.export.export(net.eval(), samples[0]).module(), quantizer(name))
        with torch.no_grad():
            for sample in samples:
                prepared(*sample)
        converted: nn.Module = convert_pt2e(prepared, fold_quantize=fold)
        return converted


def quantized_in_training(
    net: nn.Module, sample: Sample, name: str, fit: Callable[[nn.Module], None]
) -> nn.Module:
    """`net`, whose rounding `fit` trains with. `sample` has the batch of the training."""
    with quiet():
        from torchao.quantization.pt2e import (
            move_exported_model_to_eval,
            move_exported_model_to_train,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e

        batch = torch.export.Dim("batch", min=1, max=1024)
        exported = torch.export.export(net.train(), sample, dynamic_shapes=({0: batch},)).module()
        prepared = move_exported_model_to_train(prepare_qat_pt2e(exported, quantizer(name, True)))
        fit(prepared)
        converted: nn.Module = convert_pt2e(move_exported_model_to_eval(prepared))
        return converted


def save(module: nn.Module, sample: Sample, path: Path) -> Path:
    """As a file of torch.export.save, for inputs like `sample`."""
    with quiet():
        torch.export.save(torch.export.export(module, sample), path)
    return path
