/* A context on the GPU: its memory, its stream, and the calls as one graph. */
#ifndef LWC_CUDA_GPU_CONTEXT_H
#define LWC_CUDA_GPU_CONTEXT_H

#include "cuda/gpu.h"

typedef struct {
    lwc_context base;
    const lwc_resident *resident;
    cu_pointer memory;    /* the arena, then the context's own inputs and outputs */
    cu_pointer *pointers; /* one for each buffer */
    void **arguments;     /* one for each operand: the address of its pointer, as cuLaunchKernel takes it */
    cu_stream stream;
    cu_event done;        /* of what was queued on a caller's stream */
    bool queued;          /* whether something was, since this context last waited */
    cu_graph_exec graph;
} gpu_context;

/* launch.c: the calls in order, on the context's stream. */
lwc_status lwc_capture_calls(gpu_context *context);
/* Runs them one by one, with events between; waits, and writes the time of each call. */
lwc_status lwc_time_calls(gpu_context *context, uint64_t *nanoseconds);

/* context.c: where the context's own copy of an input or output lies. */
cu_pointer lwc_own_input(const gpu_context *context, uint32_t index);
cu_pointer lwc_own_output(const gpu_context *context, uint32_t index);

#endif
