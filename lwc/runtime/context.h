/* A context's memory and threads, and a run in it. Which contexts live, and who uses them, is api.c's. */
#ifndef LWC_CONTEXT_H
#define LWC_CONTEXT_H

#include "lwc_internal.h"

#include LWC_HEADER

#include <sys/types.h>

struct lwc_context {
    const lwc_program *program;
    struct lwc_context *next; /* in the list of live contexts */
    bool busy;
    pid_t process; /* a child after fork() has none of the threads */
    lwc_pool *pool;
    unsigned char *memory; /* the arena, then an aligned copy of each input and output */
    dl_tensor *tensors;    /* one for each buffer */
    tvm_any *operands;
    const void *sources[LWC_MAX_TENSORS];
    void *targets[LWC_MAX_TENSORS];
};

/* check.c: whether tensors fit the program: number, sizes, no overlap. Sets the error. */
lwc_status lwc_check_tensors(const lwc_program *program, const lwc_tensor_data *inputs, uint32_t input_count,
                             const lwc_tensor_data *outputs, uint32_t output_count);

/* input.c: whether the values of `port` at `source` are finite; they are copied to `copy` where that is not NULL. */
bool lwc_take_input(lwc_pool *pool, const lwc_port *port, const void *source, void *copy);

/* context.c. NULL where memory or threads are out. */
lwc_context *lwc_context_new(const lwc_program *program, uint32_t threads);
void lwc_context_free(lwc_context *context);
/* Runs the program on tensors that were checked; `nanoseconds`, if not NULL, gets the time of each call. */
lwc_status lwc_context_run(lwc_context *context, const lwc_tensor_data *inputs, const lwc_tensor_data *outputs,
                           uint64_t *nanoseconds);

#endif
