/* Aligned memory, and the blocks that kernels borrow while they run. */
#define _POSIX_C_SOURCE 200809L
#include "lwc_internal.h"

#include <stdlib.h>

void *lwc_allocate(size_t bytes)
{
    void *memory = NULL;
    if (bytes > SIZE_MAX - LWC_ALIGNMENT)
        return NULL;
    return posix_memalign(&memory, LWC_ALIGNMENT, bytes ? bytes : 1) == 0 ? memory : NULL;
}

static size_t aligned(size_t bytes)
{
    return (bytes + LWC_ALIGNMENT - 1) / LWC_ALIGNMENT * LWC_ALIGNMENT;
}

bool lwc_workspace_create(lwc_workspace *workspace, size_t bytes)
{
    workspace->memory = lwc_allocate(bytes);
    workspace->bytes = workspace->memory ? bytes : 0;
    return workspace->memory != NULL;
}

void *lwc_workspace_borrow(lwc_workspace *workspace, size_t bytes)
{
    if (workspace->count == LWC_WORKSPACE_BLOCKS || bytes > workspace->bytes)
        return NULL;
    if (aligned(bytes) > workspace->bytes - workspace->used)
        return NULL;
    workspace->starts[workspace->count++] = workspace->used;
    void *block = workspace->memory + workspace->used;
    workspace->used += aligned(bytes);
    return block;
}

int lwc_workspace_return(lwc_workspace *workspace, const void *memory)
{
    if (workspace->count == 0 || memory != workspace->memory + workspace->starts[workspace->count - 1])
        return -1;
    workspace->used = workspace->starts[--workspace->count];
    return 0;
}

void lwc_workspace_free(lwc_workspace *workspace)
{
    free(workspace->memory);
}
