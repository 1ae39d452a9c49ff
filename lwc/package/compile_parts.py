"""The object files of a package's parts."""

from lwc.lower.build import build_device_code, build_kernels
from lwc.package import emit
from lwc.package.link import compile_device_sources, compile_sources
from lwc.package.manifest import DEVICE_SOURCE
from lwc.package.parts import Parts


def compile_parts(parts: Parts) -> tuple[str, ...]:
    """Write the header, compile kernels and runtime in `parts.scratch`; the names of the object files to link."""
    parts.write_header()
    lowered, name = parts.lowered, parts.model.name
    if parts.target.gpu is not None:
        code = build_device_code(lowered.kernels, parts.target)
        (parts.scratch / DEVICE_SOURCE).write_text(code.source)
        program = emit.device_program(lowered, parts.interface, code)
        return compile_device_sources(parts.toolchain, parts.scratch, name, program, lowered.weights, code)
    kernels = build_kernels(lowered.kernels, parts.target)
    return compile_sources(
        parts.toolchain, parts.scratch, name, parts.program_source(), lowered.weights, kernels
    )
