/* What api.c and the two kinds of contexts have to do with each other: context.c's on the processor, cuda/context.c's
 * on a GPU. Which contexts live, and who uses them, is api.c's. */
#ifndef LWC_CONTEXT_H
#define LWC_CONTEXT_H

#include "lwc_internal.h"

#include LWC_HEADER

#include <sys/types.h>

/* The names of public functions; LWC_HEADER is the package's header, LWC_PREFIX the model's name and "_". */
#define LWC_PASTE(a, b) a##b
#define LWC_JOIN(a, b) LWC_PASTE(a, b)
#define API(name) LWC_JOIN(LWC_PREFIX, name)

/* The first member of each kind's own structure. */
struct lwc_context {
    const lwc_program *program;
    struct lwc_context *next; /* in the list of live contexts */
    bool busy;
    pid_t process; /* a child after fork() has neither the threads nor the GPU */
};

/* api.c: makes a context this thread's, until it is released. Sets the error where that cannot be. */
lwc_status lwc_context_acquire(lwc_context *context);
void lwc_context_release(lwc_context *context);

/* check.c: whether tensors fit the program: number, sizes, memory, no overlap. Sets the error. */
lwc_status lwc_check_tensors(const lwc_program *program, const lwc_tensor_data *inputs, uint32_t input_count,
                             const lwc_tensor_data *outputs, uint32_t output_count);

/* input.c: whether the values of `port` at `source` are finite; they are copied to `copy` where that is not NULL. */
bool lwc_take_input(lwc_pool *pool, const lwc_port *port, const void *source, void *copy);

/* What each kind has; all set the error. Whether this machine can run the program at all: */
lwc_status lwc_check_machine(const lwc_program *program);
/* `threads`: at most LWC_MAX_THREADS, 0 for the program's default. */
lwc_status lwc_context_new(const lwc_program *program, uint32_t threads, lwc_context **made);
/* The context is gone, whatever is returned. */
lwc_status lwc_context_free(lwc_context *context);
/* Runs the program on tensors that were checked; `nanoseconds`, if not NULL, gets the time of each call. */
lwc_status lwc_context_run(lwc_context *context, const lwc_tensor_data *inputs, const lwc_tensor_data *outputs,
                           uint64_t *nanoseconds);

#endif
