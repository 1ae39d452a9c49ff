"""What `lwc profile` says: a table with a line a call, or a JSON object."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lwc.bench.machine import Machine
from lwc.cli.output import table
from lwc.cli.units import short_bytes, short_count
from lwc.profile.peak import Peak
from lwc.profile.profile import CallTime, Profile

_HEADER = ("call", "layer", "kernel", "us", "share", "MACs", "Gop/s", "of peak", "bytes", "GB/s")


def profile_text(profile: Profile, peak: Peak, machine: Machine, package: Path) -> str:
    """The table, and how the sum of the calls compares with whole runs."""
    rows = [_row(number, call, profile, peak) for number, call in enumerate(profile.calls)]
    macs = sum(call.entry.macs for call in profile.calls)
    least = profile.limit(peak)
    return "\n".join(
        [
            f"{package}, {machine}; peak {_peak_text(peak)}",
            table(_HEADER, rows, right=(_HEADER[0], *_HEADER[3:])),
            "",
            f"calls  {profile.sum:9.1f} us",
            f"run    {profile.whole:9.1f} us, {profile.whole - profile.sum:+.1f} beside the calls",
            f"limit  {least:9.1f} us for {short_count(macs)} MACs at the peak:"
            f" {least / profile.whole:.0%} of it reached",
        ]
    )


def _peak_text(peak: Peak) -> str:
    """What the machine can do at most."""
    flops, int8_ops, memory = (value * 1e-9 for value in (peak.flops, peak.int8_ops, peak.bytes))
    return f"{flops:.0f} GFLOP/s in float32, {int8_ops:.0f} Gop/s in int8, {memory:.0f} GB/s from memory"


def _part(a: float, b: float) -> str:
    return f"{a / b:.0%}" if b else ""


def _row(number: int, call: CallTime, profile: Profile, peak: Peak) -> tuple[str, ...]:
    entry = call.entry
    arithmetic = (
        (short_count(entry.macs), f"{call.gops:.0f}", _part(call.limit(peak), call.microseconds))
        if entry.macs
        else ("", "", "")
    )
    share = call.microseconds / profile.sum if profile.sum else 0
    measured = (f"{call.microseconds:.1f}", f"{share:.1%}")
    moved = (short_bytes(entry.bytes), f"{call.gbytes:.0f}")
    return (str(number), entry.layer, entry.kernel, *measured, *arithmetic, *moved)


def profile_document(profile: Profile, peak: Peak, machine: Machine, package: Path) -> dict[str, Any]:
    """The same as a JSON object; times are microseconds, rates 10^9 a second."""
    calls = [
        {
            **call.entry.model_dump(),
            "us": call.microseconds,
            "limit_us": call.limit(peak),
            "gops": call.gops,
            "gbytes": call.gbytes,
        }
        for call in profile.calls
    ]
    return {
        "package": str(package),
        "machine": asdict(machine),
        "peak": asdict(peak),
        "calls": calls,
        "calls_us": profile.sum,
        "run_us": profile.whole,
        "limit_us": profile.limit(peak),
    }
