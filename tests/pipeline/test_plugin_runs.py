"""Passes that fail when they run, or change what they must not."""

import pytest
import torch

from lwc.errors import STOPS, BadInputError, VerificationError
from lwc.pipeline import Pipeline, run_pipeline
from lwc.pipeline.verify import Verifier
from lwc.trace import Program
from tests.pipeline.plugins import MATCH, NAME, REFUSE, REWRITE, Write, changed, line_of

RUNS: dict[str, tuple[str, str]] = {
    "match raises": (
        changed(MATCH, "raise ValueError('a\\nb')"),
        "failed in match (ValueError: a b)",
    ),
    "match without program": (changed("match(self, program, node)", "match(self, node)"), "(TypeError: "),
    "match says whether": (
        changed(MATCH, "return node.target is aten.relu.default"),
        "match returned False at",
    ),
    "refuse raises": (
        changed(REFUSE, "return match.no_such"),
        "failed in refuse of node 'relu' (AttributeError: ",
    ),
    "refuse says whether": (changed(REFUSE, "return True"), "refuse returned True, not a sentence or None"),
    "rewrite raises": (
        changed(REWRITE, "raise KeyError(3)"),
        "failed in rewrite of node 'relu' (KeyError: 3)",
    ),
    "ends the process": (
        changed(REWRITE, "raise SystemExit(3)"),
        "failed in rewrite of node 'relu' (SystemExit: 3)",
    ),
    "ends a generator": (
        changed(MATCH, "raise GeneratorExit(3)"),
        "failed in match (GeneratorExit: 3)",
    ),
    "an error of no kind": (
        changed(REFUSE, "raise BaseException('old')"),
        "failed in refuse of node 'relu' (BaseException: old)",
    ),
    "an error of lwc's": (
        changed(REWRITE, "import lwc.errors; raise lwc.errors.UnsupportedError('no way')"),
        "failed in rewrite of node 'relu' (UnsupportedError: no way)",
    ),
    "an error without a text": (
        changed(REWRITE, "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})"),
        "failed in rewrite of node 'relu' (Odd: Odd)",
    ),
    "an error with an address": (
        changed(REWRITE, "raise ValueError(object())"),
        "failed in rewrite of node 'relu' (ValueError: <object object>)",
    ),
    "candidates raise": (
        changed("def match", "def candidates(self, program):\n        1 / 0\n\n    def match"),
        "failed in candidates (ZeroDivisionError: division by zero)",
    ),
    "candidates are no pairs": (
        changed("def match", "def candidates(self, program):\n        return [3]\n\n    def match"),
        "failed in candidates (TypeError: ",
    ),
    "candidates of nothing": (
        changed("def match", "def candidates(self, program):\n        pass\n\n    def match"),
        "failed in candidates (TypeError: 'NoneType' object is not iterable)",
    ),
    "refuses without a reason": (changed(REFUSE, "return ''"), "refuse returned '', not a sentence or None"),
    "refuses in two lines": (changed(REFUSE, "return 'a\\nb'"), "not a sentence or None"),
    "erases the output": (
        changed(
            REWRITE,
            "[program.module.graph.erase_node(n) for n in program.module.graph.find_nodes(op='output')]",
        ),
        "left a graph that does not run (ValueError: it has no output)",
    ),
    "erases what is read": (
        changed(REWRITE, "program.module.graph.erase_node(match)"),
        "failed in rewrite of node 'relu' (RuntimeError: Tried to erase Node relu",
    ),
    "does not end": (
        changed(NAME, f"{NAME}; repeat = True").replace(REWRITE, "pass"),
        "does not end: it rewrote",
    ),
    "makes what it matches": (
        changed(NAME, f"{NAME}; repeat = True").replace(
            REWRITE,
            "match.append(n := program.module.graph.call_function(match.target, match.args));"
            " match.replace_all_uses_with(n); n.args = (match,)",
        ),
        "does not end: it rewrote",
    ),
    "cannot run": (changed(REWRITE, "match.args = ()"), "left a graph that does not run ("),
    "reads what comes later": (
        changed(REWRITE, "match.args = (list(program.module.graph.nodes)[-2],)"),
        "left a graph that does not run: 'relu_1' needs its own result, through 'relu_1' (",
    ),
    "fuses around what it still reads": (
        changed(REWRITE, "match.args = (next(iter(match.users)),) if match.name == 'relu' else match.args"),
        "left a graph that does not run: 'relu' needs its own result, through 'add' (",
    ),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_pass_that_fails(
    write: Write, program: Program, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text, want = RUNS[case]
    spec = write(text)
    line = line_of(BadInputError, lambda: run_pipeline(Pipeline(()).with_pass(spec), program))
    assert line.startswith(f"pass 'my-pass' ({spec}): ")
    assert want in line
    assert line.endswith("; mend the pass, or leave it out")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "lwc.errors.Terminated"])
def test_an_interrupt_stays_one(write: Write, program: Program, kind: str) -> None:
    spec = write(changed(REWRITE, f"import lwc.errors; raise {kind}"))
    with pytest.raises(STOPS):
        run_pipeline(Pipeline(()).with_pass(spec), program)
    with pytest.raises(STOPS):
        Pipeline(()).with_pass(write(f"import lwc.errors; raise {kind}"))


def test_inputs_that_a_pass_writes_into_stay_as_they_are_for_others(write: Write, program: Program) -> None:
    want = program.inputs[0].clone()
    spec = write(changed(REWRITE, "program.inputs[0].zero_()"))
    _, (record,) = run_pipeline(Pipeline(()).with_pass(spec), program)
    assert record.count == 2
    assert torch.equal(program.inputs[0], want)


WRONG = {
    "another function": "match.target = aten.neg.default",
    "another number": "match.target, match.args = aten.clamp_min.default, (match.args[0], 0.5)",
}


@pytest.mark.parametrize("case", WRONG)
def test_a_pass_that_changes_the_result(write: Write, program: Program, case: str) -> None:
    pipeline = Pipeline(()).with_pass(write(changed(REWRITE, WRONG[case])))
    line = line_of(VerificationError, lambda: run_pipeline(pipeline, program, (Verifier(program),)))
    assert line.startswith("pass 'my-pass' (")
    assert "rewrite 1 of 2, at node 'relu', changes the result" in line


def test_a_pass_that_changes_the_shape(write: Write, program: Program) -> None:
    text = changed(REWRITE, "match.target, match.args = aten.sum.dim_IntList, (match.args[0], [0])")
    pipeline = Pipeline(()).with_pass(write(text))
    line = line_of(BadInputError, lambda: run_pipeline(pipeline, program, (Verifier(program),)))
    assert "changes the outputs from float32[8, 9] to " in line
