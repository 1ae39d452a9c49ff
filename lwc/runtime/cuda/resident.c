/* What all contexts share on the GPU: loaded by the first, freed by the last. */
#define _POSIX_C_SOURCE 200809L
#include "cuda/gpu.h"

#include <pthread.h>
#include <stdlib.h>

/* A child never waits for a parent's thread: lwc_gpu_find refuses it before it comes here. */
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static lwc_resident the_resident;

lwc_status lwc_gpu_enter(const lwc_resident *resident)
{
    return LWC_CALL(&resident->gpu.driver, cuCtxPushCurrent_v2, resident->context);
}

bool lwc_gpu_enter_anyway(const lwc_resident *resident, lwc_status *status)
{
    const cu_result entered = resident->gpu.driver.cuCtxPushCurrent_v2(resident->context);
    if (*status == LWC_OK)
        *status = lwc_driver_status(&resident->gpu.driver, entered, "cuCtxPushCurrent_v2");
    return entered == CU_SUCCESS;
}

lwc_status lwc_gpu_leave(const lwc_resident *resident, lwc_status status)
{
    cu_context context;
    LWC_CALL_ANYWAY(status, &resident->gpu.driver, cuCtxPopCurrent_v2, &context);
    return status;
}

/* A Jetson's cubin has the number of a generation, but no other GPU of it executes the code, nor the Jetson theirs. */
static lwc_status load_module(lwc_resident *resident)
{
    const lwc_gpu *gpu = &resident->gpu;
    cu_result result = gpu->driver.cuModuleLoadData(&resident->module, gpu->image);
    if (result == CU_NO_BINARY_FOR_GPU && gpu->version >= lwc_the_device_code.toolkit)
        result = gpu->driver.cuModuleLoadData(&resident->module, lwc_the_device_code.ptx);
    return lwc_driver_status(&gpu->driver, result, "cuModuleLoadData");
}

static lwc_status find_functions(lwc_resident *resident, uint32_t count)
{
    lwc_status status = LWC_OK;
    resident->functions = calloc(count ? count : 1, sizeof(cu_function));
    if (!resident->functions) {
        lwc_set_error("create_context: out of memory");
        return LWC_ERROR_MEMORY;
    }
    for (uint32_t i = 0; status == LWC_OK && i < count; i++)
        status = LWC_CALL(&resident->gpu.driver, cuModuleGetFunction, &resident->functions[i], resident->module,
                          lwc_the_device_code.launches[i].kernel);
    return status;
}

static lwc_status upload_weights(lwc_resident *resident, const unsigned char *weights)
{
    const lwc_driver *driver = &resident->gpu.driver;
    const size_t bytes = (size_t)lwc_the_device_code.weights_bytes;
    cu_stream stream = NULL;
    lwc_status status = lwc_gpu_allocate(driver, bytes, &resident->weights);
    if (status == LWC_OK)
        status = LWC_CALL(driver, cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    if (status)
        return status;
    if (bytes)
        status = LWC_CALL(driver, cuMemcpyHtoDAsync_v2, resident->weights, weights, bytes, stream);
    LWC_CALL_ANYWAY(status, driver, cuStreamSynchronize, stream);
    LWC_CALL_ANYWAY(status, driver, cuStreamDestroy_v2, stream);
    return status;
}

static lwc_status load(const lwc_program *program, lwc_resident *resident)
{
    lwc_status status = LWC_CALL(&resident->gpu.driver, cuDevicePrimaryCtxRetain, &resident->context,
                                 resident->gpu.device);
    if (status == LWC_OK)
        status = lwc_gpu_enter(resident);
    if (status)
        return status;
    status = load_module(resident);
    if (status == LWC_OK)
        status = find_functions(resident, program->call_count);
    if (status == LWC_OK)
        status = upload_weights(resident, program->weights);
    return lwc_gpu_leave(resident, status);
}

/* Without its context nothing can be freed by itself; the last release of the context then frees all that is in it. */
static lwc_status unload(lwc_resident *resident, lwc_status status)
{
    const lwc_driver *driver = &resident->gpu.driver;
    free(resident->functions);
    if (!resident->context)
        return status;
    if (lwc_gpu_enter_anyway(resident, &status)) {
        if (resident->weights)
            LWC_CALL_ANYWAY(status, driver, cuMemFree_v2, resident->weights);
        if (resident->module)
            LWC_CALL_ANYWAY(status, driver, cuModuleUnload, resident->module);
        status = lwc_gpu_leave(resident, status);
    }
    LWC_CALL_ANYWAY(status, driver, cuDevicePrimaryCtxRelease_v2, resident->gpu.device);
    return status;
}

lwc_status lwc_resident_take(const lwc_program *program, const lwc_resident **resident)
{
    lwc_gpu gpu;
    lwc_status status = lwc_gpu_find(&gpu);
    if (status)
        return status;
    pthread_mutex_lock(&loading);
    if (the_resident.users == 0) {
        the_resident = (lwc_resident){.gpu = gpu};
        status = load(program, &the_resident);
        if (status)
            status = unload(&the_resident, status);
    }
    if (status == LWC_OK) {
        the_resident.users++;
        *resident = &the_resident;
    }
    pthread_mutex_unlock(&loading);
    return status;
}

lwc_status lwc_resident_give_back(lwc_status status)
{
    pthread_mutex_lock(&loading);
    if (--the_resident.users == 0)
        status = unload(&the_resident, status);
    pthread_mutex_unlock(&loading);
    return status;
}
