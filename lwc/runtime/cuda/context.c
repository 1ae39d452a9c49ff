/* A context on the GPU: what it holds there, and how it gives that back. */
#include "cuda/gpu_context.h"

#include <stdlib.h>

/* Whole lines of the GPU's cache, and no less than what cuMemAlloc gives; lwc/package/emit.py counts with it. */
enum { ALIGNMENT = 256 };

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

lwc_status lwc_check_machine(const lwc_program *program)
{
    lwc_gpu gpu;
    (void)program;
    return lwc_gpu_find(&gpu);
}

/* Where the context's own copies of the inputs and outputs end that are before these: they lie behind the arena. */
static size_t own_place(const lwc_program *program, uint32_t inputs, uint32_t outputs)
{
    size_t place = aligned((size_t)program->arena_bytes);
    for (uint32_t i = 0; i < inputs; i++)
        place += aligned(program->inputs[i].bytes);
    for (uint32_t i = 0; i < outputs; i++)
        place += aligned(program->outputs[i].bytes);
    return place;
}

cu_pointer lwc_own_input(const gpu_context *context, uint32_t index)
{
    return context->memory + own_place(context->base.program, index, 0);
}

cu_pointer lwc_own_output(const gpu_context *context, uint32_t index)
{
    return context->memory + own_place(context->base.program, context->base.program->input_count, index);
}

static cu_pointer place_of(const gpu_context *context, const lwc_buffer *buffer)
{
    switch (buffer->space) {
    case LWC_INPUT:
        return lwc_own_input(context, (uint32_t)buffer->offset);
    case LWC_OUTPUT:
        return lwc_own_output(context, (uint32_t)buffer->offset);
    case LWC_WEIGHTS:
        return context->resident->weights + buffer->offset;
    default:
        return context->memory + buffer->offset;
    }
}

static lwc_status bind_buffers(gpu_context *context)
{
    const lwc_program *program = context->base.program;
    context->pointers = calloc(program->buffer_count, sizeof *context->pointers);
    context->arguments = calloc(program->operand_count, sizeof *context->arguments);
    if (!context->pointers || !context->arguments) {
        lwc_set_error("create_context: out of memory");
        return LWC_ERROR_MEMORY;
    }
    for (uint32_t i = 0; i < program->buffer_count; i++)
        context->pointers[i] = place_of(context, &program->buffers[i]);
    for (uint32_t i = 0; i < program->operand_count; i++)
        context->arguments[i] = &context->pointers[program->operands[i]];
    return LWC_OK;
}

static lwc_status fill(gpu_context *context)
{
    const lwc_program *program = context->base.program;
    const lwc_driver *driver = &context->resident->gpu.driver;
    const size_t bytes = own_place(program, program->input_count, program->output_count);
    lwc_status status = lwc_gpu_allocate(driver, bytes, &context->memory);
    if (status == LWC_OK)
        status = bind_buffers(context);
    /* A stream that waits for the default one could not be captured while another thread uses that. */
    if (status == LWC_OK)
        status = LWC_CALL(driver, cuStreamCreate, &context->stream, CU_STREAM_NON_BLOCKING);
    if (status == LWC_OK)
        status = LWC_CALL(driver, cuEventCreate, &context->done, CU_EVENT_UNTIMED);
    return status == LWC_OK ? lwc_capture_calls(context) : status;
}

static lwc_status empty(gpu_context *context, lwc_status status)
{
    const lwc_driver *driver = &context->resident->gpu.driver;
    if (context->queued)
        LWC_CALL_ANYWAY(status, driver, cuEventSynchronize, context->done);
    if (context->graph)
        LWC_CALL_ANYWAY(status, driver, cuGraphExecDestroy, context->graph);
    if (context->done)
        LWC_CALL_ANYWAY(status, driver, cuEventDestroy_v2, context->done);
    if (context->stream)
        LWC_CALL_ANYWAY(status, driver, cuStreamDestroy_v2, context->stream);
    if (context->memory)
        LWC_CALL_ANYWAY(status, driver, cuMemFree_v2, context->memory);
    return status;
}

static lwc_status discard(gpu_context *context, lwc_status status)
{
    if (context->resident) {
        if (lwc_gpu_enter_anyway(context->resident, &status))
            status = lwc_gpu_leave(context->resident, empty(context, status));
        status = lwc_resident_give_back(status);
    }
    free(context->pointers);
    free(context->arguments);
    free(context);
    return status;
}

lwc_status lwc_context_new(const lwc_program *program, uint32_t threads, lwc_context **made)
{
    (void)threads; /* the GPU's are the kernels' own */
    gpu_context *context = calloc(1, sizeof *context);
    if (!context) {
        lwc_set_error("create_context: out of memory");
        return LWC_ERROR_MEMORY;
    }
    context->base.program = program;
    lwc_status status = lwc_resident_take(program, &context->resident);
    if (status == LWC_OK)
        status = lwc_gpu_enter(context->resident);
    if (status == LWC_OK)
        status = lwc_gpu_leave(context->resident, fill(context));
    if (status)
        return discard(context, status);
    *made = &context->base;
    return LWC_OK;
}

lwc_status lwc_context_free(lwc_context *context)
{
    return discard((gpu_context *)context, LWC_OK);
}
