"""Machine code for 64-bit ARM: the innermost loop of a kernel, and the cycles that LLVM's model gives it."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.compiled.support import require_tool

# Times around a loop, so that its start counts for little.
_REPEATS = 200
# As in `b.ne 0x1c00 <kernel_compute_+0x200>`.
_PLACE = re.compile(r"0x([0-9a-f]+) <.*>")


@dataclass(frozen=True)
class Instruction:
    """As in `fmla v0.4s, v1.4s, v2.s[1]`."""

    address: int
    name: str
    operands: str

    @property
    def jumps_to(self) -> int | None:
        """The address that a jump names."""
        found = _PLACE.search(self.operands)
        return int(found[1], 16) if found and self.name.startswith(("b", "cb", "tb")) else None


Code = list[Instruction]


def disassemble(path: Path) -> dict[str, Code]:
    """The functions of an object file, by their symbols."""
    text = _output([require_tool("llvm-objdump"), "-d", "--no-show-raw-insn", str(path)])
    functions: dict[str, Code] = {}
    for line in text.splitlines():
        if start := re.match(r"[0-9a-f]+ <(.*)>:", line):
            functions[start[1]] = code = []
        elif found := re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)", line):
            code.append(Instruction(int(found[1], 16), found[2], found[3]))
    return functions


def hot_loop(code: Code) -> Code:
    """The innermost loop that has the most multiply-adds."""
    places = {instruction.address: place for place, instruction in enumerate(code)}
    loops = [
        (places[jump.jumps_to], end)
        for end, jump in enumerate(code)
        if jump.jumps_to in places and jump.jumps_to <= jump.address
    ]
    innermost = [
        (start, end)
        for start, end in loops
        if not any((a, b) != (start, end) and start <= a and b <= end for a, b in loops)
    ]
    return max((code[start : end + 1] for start, end in innermost), key=lambda loop: len(named(loop, "fmla")))


def named(code: Code, *names: str) -> Code:
    """The instructions with one of these names."""
    return [instruction for instruction in code if instruction.name in names]


def cycles(loop: Code, cpu: str) -> float:
    """How long `cpu` takes each time around `loop`, by LLVM's model of it."""
    return _simulated(loop, cpu, "Total Cycles") / _REPEATS


def least_cycles(code: Code, cpu: str) -> float:
    """How long its units take for `code` where no instruction waits for another, by the same model."""
    return _simulated(code, cpu, "Block RThroughput")


def _simulated(code: Code, cpu: str, figure: str) -> float:
    # Where a jump leads means nothing here.
    lines = [f"{each.name} {_PLACE.sub('.', each.operands)}" for each in code]
    options = ("-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", f"-iterations={_REPEATS}")
    text = _output([require_tool("llvm-mca"), *options], "\n".join(lines))
    found = re.search(rf"{figure}:\s+([\d.]+)", text)
    assert found, text
    return float(found[1])


def _output(command: list[str], given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    # llvm-mca leaves out what it cannot read, and succeeds.
    assert not done.stderr, done.stderr
    return done.stdout
