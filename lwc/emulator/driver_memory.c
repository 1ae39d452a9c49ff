/* The GPU's memory, which is the processor's here, and copies from and to it. */
#define _POSIX_C_SOURCE 200809L
#include "driver_internal.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 256 }; /* as cuMemAlloc gives it */

typedef struct {
    object base;
    unsigned char *data;
    size_t bytes;
} allocation;

static size_t used_bytes(void)
{
    size_t bytes = 0;
    for (allocation *each = first_object(ALLOCATION, NULL); each; each = next_object(each, NULL))
        bytes += each->bytes;
    return bytes;
}

static cu_result allocate(cu_pointer *pointer, size_t bytes)
{
    if (!pointer || bytes == 0)
        return CU_INVALID_VALUE;
    const uint64_t limit = setting("LWC_EMULATOR_MEMORY", UINT64_MAX);
    const size_t used = used_bytes();
    if (used > limit || bytes > limit - used)
        return CU_OUT_OF_MEMORY;
    void *data = NULL;
    if (posix_memalign(&data, ALIGNMENT, bytes) != 0)
        return CU_OUT_OF_MEMORY;
    allocation *made = create_object(ALLOCATION, sizeof *made, current_context());
    if (!made) {
        free(data);
        return CU_OUT_OF_MEMORY;
    }
    /* What nobody wrote reads as NaN. */
    made->data = memset(data, 0xff, bytes);
    made->bytes = bytes;
    *pointer = (cu_pointer)(uintptr_t)data;
    return CU_SUCCESS;
}

/* The live allocation in which all of the `bytes` bytes at `place` lie, or with `any` one of them; NULL without. */
static allocation *find(uintptr_t place, size_t bytes, bool any)
{
    for (allocation *each = first_object(ALLOCATION, NULL); each; each = next_object(each, NULL)) {
        const uintptr_t start = (uintptr_t)each->data, end = start + each->bytes;
        const bool whole = start <= place && place <= end && bytes <= end - place;
        if (whole || (any && place < end && start < place + bytes))
            return each;
    }
    return NULL;
}

void destroy_allocation(void *pointer)
{
    allocation *self = pointer;
    free(self->data);
    destroy_object(self);
}

/* As the driver's own, it waits for all work, which could use the memory. */
static cu_result release(cu_pointer pointer)
{
    allocation *self = find((uintptr_t)pointer, 1, false);
    if (!self || self->data != (unsigned char *)(uintptr_t)pointer)
        return CU_INVALID_VALUE;
    drain_streams();
    destroy_allocation(self);
    return CU_SUCCESS;
}

static bool on_gpu(uintptr_t place, size_t bytes)
{
    return find(place, bytes, false) != NULL;
}

static bool on_host(uintptr_t place, size_t bytes)
{
    return place && !find(place, bytes, true);
}

static cu_result copy(uintptr_t to, uintptr_t from, size_t bytes, bool places_fit, cu_stream stream)
{
    if (bytes == 0 || !places_fit)
        return CU_INVALID_VALUE;
    return queue_work(stream, (work){.kind = COPY, .to = (void *)to, .from = (const void *)from, .bytes = bytes});
}

cu_result cuMemAlloc_v2(cu_pointer *pointer, size_t bytes)
{
    SERVE(NEEDS_CONTEXT, allocate(pointer, bytes));
}

cu_result cuMemFree_v2(cu_pointer pointer)
{
    SERVE_ANYWAY(NEEDS_CONTEXT, release(pointer));
}

cu_result cuMemcpyHtoDAsync_v2(cu_pointer to, const void *from, size_t bytes, cu_stream stream)
{
    const uintptr_t target = (uintptr_t)to, source = (uintptr_t)from;
    SERVE(NEEDS_CONTEXT, copy(target, source, bytes, on_gpu(target, bytes) && on_host(source, bytes), stream));
}

cu_result cuMemcpyDtoHAsync_v2(void *to, cu_pointer from, size_t bytes, cu_stream stream)
{
    const uintptr_t target = (uintptr_t)to, source = (uintptr_t)from;
    SERVE(NEEDS_CONTEXT, copy(target, source, bytes, on_host(target, bytes) && on_gpu(source, bytes), stream));
}

cu_result cuMemcpyDtoDAsync_v2(cu_pointer to, cu_pointer from, size_t bytes, cu_stream stream)
{
    const uintptr_t target = (uintptr_t)to, source = (uintptr_t)from;
    SERVE(NEEDS_CONTEXT, copy(target, source, bytes, on_gpu(target, bytes) && on_gpu(source, bytes), stream));
}
