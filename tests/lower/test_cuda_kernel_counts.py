"""How many kernels a run of each family takes on a GPU: a launch costs as much as a small layer."""

from dataclasses import replace

import pytest

from lwc.lower.lower import lower
from lwc.models.load import load_model
from lwc.models.request import ModelRequest
from lwc.pipeline import Pipeline, run_pipeline
from lwc.targets.cuda import cuda_target
from lwc.trace import trace

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "kernels"),
    [("mobilenet_v1", 28), ("mobilenet_v2", 48), ("levit_128s", 63), ("mobilevit_small", 107)],
)
def test_kernels_of_a_run(name: str, kernels: int) -> None:
    model = load_model(ModelRequest(name, weights="random"), lambda warning: None)
    program = replace(trace(model.module, model.inputs, model.input_names), target=cuda_target("sm_80"))
    program, _ = run_pipeline(Pipeline.parse("default"), program)
    assert program.target is not None
    assert len(lower(program, program.target).calls) == kernels
