/* The values of a run's inputs: finite, and where kernels can read them. All threads take a part. */
#include "context.h"

#include <stdatomic.h>
#include <string.h>

/* Less than this is not worth a second thread. */
enum { SHARED_BYTES = 1 << 16 };

typedef struct {
    const unsigned char *source;
    unsigned char *copy; /* NULL: the values are only looked at */
    size_t bytes;
    bool is_float; /* else there is nothing to look at */
    _Atomic bool finite;
} input;

static int take_share(int part, tvm_parallel_group *group, void *closure)
{
    /* A block is checked while the copy of it is still near. */
    enum { BLOCK = 1 << 14 };
    input *self = closure;
    const size_t blocks = (self->bytes + BLOCK - 1) / BLOCK;
    const size_t first = blocks * (size_t)part / (size_t)group->tasks;
    const size_t last = blocks * ((size_t)part + 1) / (size_t)group->tasks;
    for (size_t i = first; i < last; i++) {
        const size_t start = i * BLOCK;
        const size_t bytes = self->bytes - start < BLOCK ? self->bytes - start : BLOCK;
        const unsigned char *read = self->source + start; /* what kernels will read */
        if (self->copy)
            read = memcpy(self->copy + start, read, bytes);
        if (self->is_float && !lwc_all_finite(read, bytes))
            atomic_store(&self->finite, false);
    }
    return 0;
}

bool lwc_take_input(lwc_pool *pool, const lwc_port *port, const void *source, void *copy)
{
    input taken = {source, copy, port->bytes, port->is_float, true};
    tvm_parallel_group alone = {NULL, 1};
    if (!port->is_float && !copy)
        return true;
    if (port->bytes < SHARED_BYTES)
        take_share(0, &alone, &taken);
    else
        lwc_pool_run(pool, take_share, &taken);
    return atomic_load(&taken.finite);
}
