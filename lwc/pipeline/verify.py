"""The hook that runs the graph before and after each pass, in float64, on the same inputs.

A pass may change how a result is computed, never the result:

    rms(after - before)  <=  2 * rms(float32 - float64) + 1e-6 * min(1, rms(float64)) + 1e-12

where float32 and float64 are PyTorch's two runs of the program as it was traced. What a pass computes at compile
time it rounds to float32; nothing else differs.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from lwc.errors import STOPS, VerificationError
from lwc.oracle import ALLOWANCE, FACTOR, in_float64
from lwc.pipeline.differ import first_difference
from lwc.pipeline.guard import blame, described, is_plugin
from lwc.pipeline.run import Step, apply_pass, snapshot
from lwc.pipeline.shapes import Shapes
from lwc.pipeline.signature import SignatureHook
from lwc.trace import Program

Outputs = list[torch.Tensor]

# What reassociation in float64 may leave of a result that is zero.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PassCheck:
    """One pass's difference, the worst output's (root mean square) and its limit, and the time it took to tell."""

    error: float
    limit: float
    seconds: float


@dataclass(frozen=True)
class Disagreement:
    """A rewrite that changes the result: the pass, the rewrite's number and node, and by how much."""

    step: Step
    application: int
    node: str
    check: PassCheck
    first_difference: str


class DisagreementError(VerificationError):
    """A pass changes the result; `found` says which, and where."""

    def __init__(self, message: str, found: Disagreement) -> None:
        super().__init__(message)
        self.found = found


class Verifier:
    """A hook that holds each pass's program against the one before it; after one that redefines it starts anew.

    `checks` has an entry for each pass that rewrote. `compared` counts the outputs that can be compared: not those
    that are not finite, in float64 or in float32; none where PyTorch cannot run the program in float64.
    `on_failure` is called with what is wrong before the DisagreementError, and gives what to add to its message.
    """

    def __init__(self, program: Program, on_failure: Callable[[Disagreement], str] | None = None) -> None:
        self.checks: dict[int, PassCheck] = {}
        self._on_failure = on_failure
        self.compared = 0
        self._signature = SignatureHook()
        self._expected: Outputs | None = None
        self._limits: list[float | None] = []
        self._start_from(program)

    def __call__(self, step: Step) -> None:
        """Raises DisagreementError where a pass changes a result, BadInputError where a plug-in breaks the graph."""
        start = time.perf_counter()
        self._signature(step)
        if step.item.redefines:
            self._start_from(step.after)
            return
        # A plug-in may change what it only looks at.
        if self.compared == 0 or (step.record.count == 0 and not is_plugin(step.item)):
            return
        try:
            actual = run_float64(step.after)
        except STOPS:
            raise
        except BaseException as cause:
            raise blame(step.item, "left a graph that cannot be run in float64", cause) from cause
        error, limit = self._worst(actual)
        check = PassCheck(error, limit, time.perf_counter() - start)
        if not error <= limit:
            self._fail(step, check)
        self._expected = actual
        if step.record.count:
            self.checks[step.position] = check

    def _start_from(self, program: Program) -> None:
        self._limits = []
        # Where it cannot be run so, the package's own verification says it.
        with suppress(RuntimeError):
            self._expected = run_float64(program)
            self._limits = _limits(program, self._expected)
        self.compared = len(self._limits) - self._limits.count(None)

    def _worst(self, actual: Outputs) -> tuple[float, float]:
        """The error and the limit of the output that is furthest from the one before, in parts of its limit."""
        assert self._expected is not None
        compared = zip(actual, self._expected, self._limits, strict=True)
        errors = [(rms(got - want), limit) for got, want, limit in compared if limit is not None]
        return max(errors, key=lambda pair: _excess(*pair))

    def _fail(self, step: Step, check: PassCheck) -> None:
        if step.record.count == 0:
            raise blame(step.item, "changes the graph in match or refuse, which may only look")
        application, node = self._first_application(step)
        part = _part(step, application)
        named = first_difference(step.before, part)
        found = Disagreement(step, application, node, check, named)
        extra = "" if self._on_failure is None else self._on_failure(found)
        own = f"report it, or leave it out with --passes default,-{step.item.name}"
        advice = "mend the pass, or leave it out" if is_plugin(step.item) else own
        message = (
            f"{described(step.item)}: rewrite {application} of {step.record.count}, at node {node!r},"
            f" {_what_it_does(check)}; first different: {named}; {extra}{advice}"
        )
        raise DisagreementError(message, found)

    def _first_application(self, step: Step) -> tuple[int, str]:
        """The number of the first rewrite that breaks agreement, by bisection, and its node."""
        good, bad = 0, step.record.count
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if self._agrees(_part(step, middle)) else (good, middle)
        return bad, step.record.rewritten[bad - 1]

    def _agrees(self, part: Program) -> bool:
        try:
            error, limit = self._worst(run_float64(part))
        except Exception:
            # Half of a pass's rewrites may leave what its whole does not.
            return False
        return error <= limit


def _what_it_does(check: PassCheck) -> str:
    if not math.isfinite(check.error):
        return f"makes the result {'NaN' if math.isnan(check.error) else 'infinite'}"
    return f"changes the result by {check.error:.3g} (root mean square), more than {check.limit:.3g}"


def _part(step: Step, limit: int) -> Program:
    """The program after the first `limit` rewrites of a step."""
    program = replace(step.before, module=snapshot(step.before).module)
    apply_pass(step.item, program, Shapes(), limit)
    return program


def _excess(error: float, limit: float) -> float:
    return math.inf if math.isnan(error) else error / limit


class _InFloat64(fx.Interpreter):
    """Runs a graph on its parameters in float64: a copy of the module would have to be compiled, for one run."""

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """The parameter, buffer or submodule `target`."""
        value = super().get_attr(target, args, kwargs)
        return in_float64(value) if isinstance(value, torch.nn.Module) else _double(value)


def run_float64(program: Program) -> Outputs:
    """The outputs in float64. Raises what PyTorch raises where it cannot run the program so."""
    return _run(_InFloat64(program.module).run, tuple(map(_double, program.inputs)))


def _double(value: Any) -> Any:
    """A tensor of real numbers in float64; anything else as it is."""
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _run(call: Callable[..., Any], inputs: tuple[torch.Tensor, ...]) -> Outputs:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [output.double() for output in tree_leaves(call(*inputs))]


def rms(values: torch.Tensor) -> float:
    """The root of the mean square."""
    return float(values.detach().double().square().mean().sqrt()) if values.numel() else 0.0


def _limits(program: Program, exact: Outputs) -> list[float | None]:
    """How far each output may be from `exact`; None where that, or PyTorch's float32, is not finite."""
    single = _run(program.module, program.inputs)
    limits = [
        FACTOR * rms(got - want) + ALLOWANCE * min(1.0, rms(want)) + _ROUNDING
        for got, want in zip(single, exact, strict=True)
    ]
    return [limit if math.isfinite(limit) else None for limit in limits]
