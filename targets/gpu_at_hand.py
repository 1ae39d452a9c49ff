"""The GPU of this machine, as its driver names it."""

import ctypes

from lwc.errors import ResourceError

# CUdevice_attribute of cuda.h.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


def architecture_at_hand() -> str:
    """The architecture of the first GPU ("sm_90"). Raises ResourceError where there is no driver or no GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise ResourceError(
            "target 'cuda': no NVIDIA driver (libcuda.so.1) on this machine; name the GPU, as in cuda:sm_80"
        ) from None
    device = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(device), 0) != 0:
        raise ResourceError("target 'cuda': the NVIDIA driver finds no GPU; name it, as in cuda:sm_80")
    major, minor = (_attribute(driver, device, which) for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR))
    return f"sm_{major}{minor}"


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, which: int) -> int:
    value = ctypes.c_int()
    if driver.cuDeviceGetAttribute(ctypes.byref(value), which, device) != 0:
        raise ResourceError("target 'cuda': the NVIDIA driver does not describe its GPU; name it, as in cuda:sm_80")
    return value.value
