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

void *lwc_workspace_borrow(lwc_workspace *workspace, size_t bytes)
{
    int empty = -1;
    for (int i = 0; i < LWC_WORKSPACE_BLOCKS; i++) {
        if (workspace->blocks[i].used)
            continue;
        if (workspace->blocks[i].bytes >= bytes && workspace->blocks[i].memory) {
            workspace->blocks[i].used = true;
            return workspace->blocks[i].memory;
        }
        empty = i;
    }
    if (empty < 0)
        return NULL;
    free(workspace->blocks[empty].memory);
    workspace->blocks[empty].memory = lwc_allocate(bytes);
    workspace->blocks[empty].bytes = workspace->blocks[empty].memory ? bytes : 0;
    workspace->blocks[empty].used = workspace->blocks[empty].memory != NULL;
    return workspace->blocks[empty].memory;
}

int lwc_workspace_return(lwc_workspace *workspace, const void *memory)
{
    for (int i = 0; i < LWC_WORKSPACE_BLOCKS; i++) {
        if (workspace->blocks[i].memory == memory && workspace->blocks[i].used) {
            workspace->blocks[i].used = false;
            return 0;
        }
    }
    return -1;
}

void lwc_workspace_free(lwc_workspace *workspace)
{
    for (int i = 0; i < LWC_WORKSPACE_BLOCKS; i++)
        free(workspace->blocks[i].memory);
}
