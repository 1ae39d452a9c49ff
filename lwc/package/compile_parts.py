"""The object files of a package's parts."""

from lwc.lower.build import build_kernels
from lwc.package.link import compile_sources
from lwc.package.parts import Parts


def compile_parts(parts: Parts) -> tuple[str, ...]:
    """Write the header, compile kernels and runtime in `parts.scratch`; the names of the object files to link."""
    parts.write_header()
    kernels = build_kernels(parts.lowered.kernels, parts.target)
    return compile_sources(
        parts.toolchain,
        parts.scratch,
        parts.model.name,
        parts.program_source(),
        parts.lowered.weights,
        kernels,
    )
