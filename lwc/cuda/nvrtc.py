"""CUDA C to PTX and machine code by NVRTC, the compiler as a library ("NVRTC" in NVIDIA's documentation)."""

import ctypes
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lwc.cuda.binary import Binary, first_error
from lwc.errors import UnsupportedError


@dataclass(frozen=True)
class Nvrtc:
    """The compiler in `library`, of the CUDA release `toolkit`."""

    library: ctypes.CDLL
    toolkit: tuple[int, int]

    @property
    def name(self) -> str:
        """As the manifest names it."""
        return "nvrtc"

    def compile(self, source: str, architecture: str) -> Binary:
        """`source` for GPUs of `architecture` ("sm_80"). Raises UnsupportedError where the compiler refuses it."""
        program = ctypes.c_void_p()
        text = ctypes.c_char_p(source.encode())
        created = self.library.nvrtcCreateProgram(ctypes.byref(program), text, b"kernels.cu", 0, None, None)
        self._check(created, architecture, program)
        try:
            options = (ctypes.c_char_p * 2)(f"--gpu-architecture={architecture}".encode(), b"--std=c++17")
            done = self.library.nvrtcCompileProgram(program, len(options), options)
            self._check(done, architecture, program)
            return Binary(
                self._get("CUBIN", program, architecture),
                self._get("PTX", program, architecture).rstrip(b"\0"),
            )
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def _get(self, what: str, program: ctypes.c_void_p, architecture: str) -> bytes:
        size = ctypes.c_size_t()
        get_size, get = (getattr(self.library, f"nvrtcGet{what}{suffix}") for suffix in ("Size", ""))
        self._check(get_size(program, ctypes.byref(size)), architecture, program)
        content = ctypes.create_string_buffer(size.value)
        self._check(get(program, content), architecture, program)
        return content.raw

    def _check(self, status: int, architecture: str, program: ctypes.c_void_p) -> None:
        if status == 0:
            return
        reason = self.library.nvrtcGetErrorString(status).decode()
        said = first_error(self._log(program)) or reason
        raise UnsupportedError(f"nvrtc for {architecture}: {said}; please report the model")

    def _log(self, program: ctypes.c_void_p) -> str:
        size = ctypes.c_size_t()
        if not program or self.library.nvrtcGetProgramLogSize(program, ctypes.byref(size)) != 0:
            return ""
        text = ctypes.create_string_buffer(max(1, size.value))
        return (
            text.value.decode(errors="replace") if self.library.nvrtcGetProgramLog(program, text) == 0 else ""
        )


def find_nvrtc() -> Nvrtc | None:
    """NVRTC of NVIDIA's Python package, else of the system; None where there is none."""
    for path in (*_from_packages(), "libnvrtc.so.13", "libnvrtc.so.12"):
        try:
            library: Any = ctypes.CDLL(path)
        except OSError:
            continue
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        if library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)) == 0:
            return Nvrtc(library, (major.value, minor.value))
    return None


def _from_packages() -> list[str]:
    spec = find_spec("nvidia")
    folders = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
    # nvidia-cuda-nvrtc-cu12 and nvidia-cuda-nvrtc lie in different folders.
    patterns = ("cuda_nvrtc/lib/libnvrtc.so.*", "cu*/lib/libnvrtc.so.*")
    found = [str(path) for folder in folders for pattern in patterns for path in sorted(folder.glob(pattern))]
    return [path for path in found if "builtins" not in path and "alt" not in path]
