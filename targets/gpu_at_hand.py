"""The GPU of this machine, as its driver names it."""

import ctypes

from lwc.errors import ResourceError

# CUdevice_attribute of cuda.h.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


def architecture_at_hand() -> str:
    """The architecture of the first GPU ("sm_90"). Raises ResourceError where there is no driver or no GPU."""
    driver = _driver()
    device = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(device), 0) != 0:
        raise ResourceError(
            "the NVIDIA driver finds no GPU on this machine; see whether `nvidia-smi` lists one"
        )
    major, minor = (_attribute(driver, device, which) for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR))
    return f"sm_{major}{minor}"


def driver_release() -> tuple[int, int]:
    """The CUDA release of the driver, (12, 4). Raises ResourceError where there is none."""
    version = ctypes.c_int()
    if _driver().cuDriverGetVersion(ctypes.byref(version)) != 0:
        raise ResourceError("the NVIDIA driver does not tell its release; see whether `nvidia-smi` does")
    return version.value // 1000, version.value % 1000 // 10


def _driver() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise ResourceError(
            "no NVIDIA driver (libcuda.so.1) on this machine; use one that has a GPU, or only compile, for a GPU by"
            " its name, as in cuda:sm_80"
        ) from None


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, which: int) -> int:
    value = ctypes.c_int()
    if driver.cuDeviceGetAttribute(ctypes.byref(value), which, device) != 0:
        raise ResourceError("the NVIDIA driver does not describe its GPU; see whether `nvidia-smi` lists one")
    return value.value
