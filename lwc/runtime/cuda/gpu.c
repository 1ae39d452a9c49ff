/* Which GPU this is, and what of the program's code it executes. */
#define _POSIX_C_SOURCE 200809L
#include "cuda/gpu.h"

#include <stdatomic.h>
#include <unistd.h>

/* CUDA cannot be used in a child of the process that started it. */
static lwc_status claim_process(void)
{
    static _Atomic pid_t user;
    pid_t seen = 0;
    if (atomic_compare_exchange_strong(&user, &seen, getpid()) || seen == getpid())
        return LWC_OK;
    lwc_set_error("the parent process used the GPU before fork(); open the model in the child alone");
    return LWC_ERROR_FORKED;
}

static lwc_status find_device(lwc_gpu *gpu)
{
    const lwc_driver *driver = &gpu->driver;
    int count = 0;
    const cu_result started = driver->cuInit(0);
    lwc_status status = started == CU_NO_DEVICE ? LWC_OK : lwc_driver_status(driver, started, "cuInit");
    if (status == LWC_OK && started == CU_SUCCESS)
        status = LWC_CALL(driver, cuDeviceGetCount, &count);
    if (status)
        return status;
    if (count == 0) {
        lwc_set_error("open: the NVIDIA driver finds no GPU; is CUDA_VISIBLE_DEVICES right?");
        return LWC_ERROR_DEVICE;
    }
    return LWC_CALL(driver, cuDeviceGet, &gpu->device, 0);
}

/* A driver runs the machine code of each release with its major number, and compiles PTX of its own release or
 * earlier (CUDA Compatibility, "Minor Version Compatibility"). */
static lwc_status check_version(const lwc_gpu *gpu)
{
    const int toolkit = lwc_the_device_code.toolkit;
    const int needed = gpu->image == lwc_the_device_code.binary ? toolkit / 1000 * 1000 : toolkit;
    if (gpu->version >= needed)
        return LWC_OK;
    lwc_set_error("open: the NVIDIA driver is for CUDA %d.%d, the model needs %d.%d; install a newer driver",
                  gpu->version / 1000, gpu->version % 1000 / 10, needed / 1000, needed % 1000 / 10);
    return LWC_ERROR_DEVICE;
}

/* Machine code is for its own generation, PTX for all later ones (CUDA C++ Programming Guide, "Binary
 * Compatibility", "PTX Compatibility"). */
static lwc_status choose_image(lwc_gpu *gpu)
{
    const lwc_device_code *code = &lwc_the_device_code;
    int major = 0, minor = 0;
    lwc_status status = LWC_CALL(&gpu->driver, cuDeviceGetAttribute, &major, CU_CAPABILITY_MAJOR, gpu->device);
    if (status == LWC_OK)
        status = LWC_CALL(&gpu->driver, cuDeviceGetAttribute, &minor, CU_CAPABILITY_MINOR, gpu->device);
    if (status)
        return status;
    const uint32_t capability = (uint32_t)(10 * major + minor);
    if (capability < code->architecture) {
        lwc_set_error("open: the GPU is sm_%u, the model is for sm_%u; compile it for cuda:sm_%u", capability,
                      code->architecture, capability);
        return LWC_ERROR_DEVICE;
    }
    gpu->image = capability / 10 == code->architecture / 10 ? code->binary : code->ptx;
    return LWC_OK;
}

lwc_status lwc_gpu_find(lwc_gpu *gpu)
{
    lwc_status status = lwc_driver_find(&gpu->driver);
    if (status == LWC_OK)
        status = claim_process();
    if (status == LWC_OK)
        status = find_device(gpu);
    if (status == LWC_OK)
        status = LWC_CALL(&gpu->driver, cuDriverGetVersion, &gpu->version);
    if (status == LWC_OK)
        status = choose_image(gpu);
    return status == LWC_OK ? check_version(gpu) : status;
}

lwc_status lwc_gpu_allocate(const lwc_driver *driver, size_t bytes, cu_pointer *pointer)
{
    const cu_result result = driver->cuMemAlloc_v2(pointer, bytes ? bytes : 1);
    if (result != CU_OUT_OF_MEMORY)
        return lwc_driver_status(driver, result, "cuMemAlloc_v2");
    lwc_set_error("create_context: the GPU does not have %zu bytes free (cuMemAlloc_v2)", bytes);
    return LWC_ERROR_MEMORY;
}
