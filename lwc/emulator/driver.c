/* A stand-in for NVIDIA's driver, libcuda.so.1: the functions of cuda/driver_api.h over the processor's memory, and
 * kernels that were compiled for the processor. It is stricter than the driver, so that a program that runs with it
 * does not only happen to: every handle, address and order of calls is checked, and nothing is done before it is
 * waited for. driver.py says which variables of the environment set it up. */
#include "driver_internal.h"

#include <stdlib.h>

enum { MAX_DEVICES = 8, MAX_DEPTH = 8 };

struct CUctx_st {
    unsigned users;
};

/* The primary context of each device. */
static struct CUctx_st contexts[MAX_DEVICES];
static _Thread_local const struct CUctx_st *stack[MAX_DEPTH];
static _Thread_local unsigned depth;

const void *current_context(void)
{
    return depth && stack[depth - 1]->users ? stack[depth - 1] : NULL;
}

static int device_count(void)
{
    const uint64_t count = setting("LWC_EMULATOR_DEVICES", 1);
    return (int)(count < MAX_DEVICES ? count : MAX_DEVICES);
}

static bool is_device(cu_device device)
{
    return device >= 0 && device < device_count();
}

static cu_result give(int *place, int value)
{
    if (!place)
        return CU_INVALID_VALUE;
    *place = value;
    return CU_SUCCESS;
}

static cu_result attribute(int *value, int which, cu_device device)
{
    const int capability = (int)setting("LWC_EMULATOR_CAPABILITY", 80);
    if (!is_device(device))
        return CU_INVALID_DEVICE;
    if (which == CU_CAPABILITY_MAJOR)
        return give(value, capability / 10);
    return which == CU_CAPABILITY_MINOR ? give(value, capability % 10) : CU_INVALID_VALUE;
}

static cu_result retain(cu_context *context, cu_device device)
{
    if (!context || !is_device(device))
        return CU_INVALID_DEVICE;
    contexts[device].users++;
    *context = &contexts[device];
    return CU_SUCCESS;
}

/* With the last user goes all that is left in the context; the log says that something was. */
static void destroy_contents(const struct CUctx_st *context)
{
    void (*const destroy[])(void *) = {
        [MODULE] = destroy_module, [ALLOCATION] = destroy_allocation, [STREAM] = destroy_stream,
        [EVENT] = destroy_object,  [GRAPH] = destroy_graph,           [EXECUTABLE] = destroy_graph,
    };
    bool empty = true;
    drain_streams();
    for (object_kind kind = 0; kind < KINDS; kind++)
        empty = empty && !first_object(kind, context);
    if (!empty)
        log_objects("abandoned");
    for (object_kind kind = 0; kind < KINDS; kind++) {
        for (void *each = first_object(kind, context); each; each = first_object(kind, context))
            destroy[kind](each);
    }
}

static cu_result release(cu_device device)
{
    if (!is_device(device) || contexts[device].users == 0)
        return CU_INVALID_CONTEXT;
    if (contexts[device].users == 1)
        destroy_contents(&contexts[device]);
    contexts[device].users--;
    return CU_SUCCESS;
}

static cu_result push(cu_context context)
{
    if (context < contexts || context >= contexts + MAX_DEVICES || !context->users || depth == MAX_DEPTH)
        return CU_INVALID_CONTEXT;
    stack[depth++] = context;
    return CU_SUCCESS;
}

static cu_result pop(cu_context *context)
{
    if (depth == 0)
        return CU_INVALID_CONTEXT;
    depth--;
    if (context)
        *context = (cu_context)stack[depth];
    return CU_SUCCESS;
}

cu_result cuDriverGetVersion(int *version)
{
    SERVE(NEEDS_NOTHING, give(version, (int)setting("LWC_EMULATOR_VERSION", 13000)));
}

cu_result cuDeviceGetCount(int *count)
{
    SERVE(NEEDS_INIT, give(count, device_count()));
}

cu_result cuDeviceGet(cu_device *device, int ordinal)
{
    SERVE(NEEDS_INIT, is_device(ordinal) ? give(device, ordinal) : CU_INVALID_DEVICE);
}

cu_result cuDeviceGetAttribute(int *value, int which, cu_device device)
{
    SERVE(NEEDS_INIT, attribute(value, which, device));
}

cu_result cuDevicePrimaryCtxRetain(cu_context *context, cu_device device)
{
    SERVE(NEEDS_INIT, retain(context, device));
}

cu_result cuDevicePrimaryCtxRelease_v2(cu_device device)
{
    SERVE_ANYWAY(NEEDS_INIT, release(device));
}

cu_result cuCtxPushCurrent_v2(cu_context context)
{
    SERVE(NEEDS_INIT, push(context));
}

cu_result cuCtxPopCurrent_v2(cu_context *context)
{
    SERVE_ANYWAY(NEEDS_INIT, pop(context));
}
