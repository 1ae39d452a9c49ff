/* A context on the processor: its memory and threads, its tensors as kernels take them, and the calls in order. */
#define _POSIX_C_SOURCE 200809L
#include "context.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    lwc_context base;
    lwc_pool *pool;
    unsigned char *memory; /* the arena, then an aligned copy of each input and output */
    dl_tensor *tensors;    /* one for each buffer */
    tvm_any *operands;
    const void *sources[LWC_MAX_TENSORS];
    void *targets[LWC_MAX_TENSORS];
} cpu_context;

lwc_status lwc_check_machine(const lwc_program *program)
{
    const char *missing = lwc_missing_cpu_feature(program->cpu_features);
    if (!missing)
        return LWC_OK;
    lwc_set_error("open: this processor has no %s; compile the model for it", missing);
    return LWC_ERROR_CPU;
}

static uint32_t choose_threads(const lwc_program *program, uint32_t wanted)
{
    const uint32_t threads = wanted ? wanted : program->threads;
    const uint32_t count = threads ? threads : lwc_available_cores();
    return count < LWC_MAX_THREADS ? count : LWC_MAX_THREADS;
}

static size_t aligned(size_t bytes)
{
    return (bytes + LWC_ALIGNMENT - 1) / LWC_ALIGNMENT * LWC_ALIGNMENT;
}

static bool is_aligned(const void *pointer)
{
    return (uintptr_t)pointer % LWC_ALIGNMENT == 0;
}

static size_t memory_bytes(const lwc_program *program)
{
    size_t bytes = aligned((size_t)program->arena_bytes);
    for (uint32_t i = 0; i < program->input_count; i++)
        bytes += aligned(program->inputs[i].bytes);
    for (uint32_t i = 0; i < program->output_count; i++)
        bytes += aligned(program->outputs[i].bytes);
    return bytes;
}

/* The context's own copies of the inputs and outputs lie behind the arena. */
static unsigned char *own_copy(const cpu_context *context, lwc_space space, uint32_t index)
{
    const lwc_program *program = context->base.program;
    unsigned char *place = context->memory + aligned((size_t)program->arena_bytes);
    const uint32_t inputs = space == LWC_INPUT ? index : program->input_count;
    const uint32_t outputs = space == LWC_OUTPUT ? index : 0;
    for (uint32_t i = 0; i < inputs; i++)
        place += aligned(program->inputs[i].bytes);
    for (uint32_t i = 0; i < outputs; i++)
        place += aligned(program->outputs[i].bytes);
    return place;
}

static void bind_buffers(cpu_context *context)
{
    const lwc_program *program = context->base.program;
    for (uint32_t i = 0; i < program->buffer_count; i++) {
        const lwc_buffer *buffer = &program->buffers[i];
        unsigned char *data = NULL; /* inputs and outputs: known at each run */
        if (buffer->space == LWC_ARENA)
            data = context->memory + buffer->offset;
        if (buffer->space == LWC_WEIGHTS) /* kernels only read them */
            data = (unsigned char *)(uintptr_t)(program->weights + buffer->offset);
        context->tensors[i] = (dl_tensor){data, {1, 0}, buffer->rank, buffer->dtype, buffer->shape, NULL, 0};
    }
    for (uint32_t i = 0; i < program->operand_count; i++) {
        context->operands[i] = (tvm_any){.type_index = 7};
        context->operands[i].value.pointer = &context->tensors[program->operands[i]];
    }
}

static void discard(cpu_context *context)
{
    lwc_pool_destroy(context->pool);
    free(context->memory);
    free(context->tensors);
    free(context->operands);
    free(context);
}

lwc_status lwc_context_free(lwc_context *context)
{
    discard((cpu_context *)context);
    return LWC_OK;
}

static cpu_context *create(const lwc_program *program, uint32_t threads)
{
    cpu_context *context = calloc(1, sizeof *context);
    if (!context)
        return NULL;
    context->base.program = program;
    context->memory = lwc_allocate(memory_bytes(program));
    context->tensors = calloc(program->buffer_count, sizeof *context->tensors);
    context->operands = calloc(program->operand_count, sizeof *context->operands);
    context->pool = lwc_pool_create(threads, (size_t)program->thread_bytes);
    if (context->memory && context->tensors && context->operands && context->pool) {
        bind_buffers(context);
        return context;
    }
    discard(context);
    return NULL;
}

lwc_status lwc_context_new(const lwc_program *program, uint32_t threads, lwc_context **made)
{
    cpu_context *context = create(program, choose_threads(program, threads));
    if (!context) {
        lwc_set_error("create_context: out of memory, or no more threads can be started");
        return LWC_ERROR_MEMORY;
    }
    *made = &context->base;
    return LWC_OK;
}

/* Kernels read and write whole vectors at aligned addresses: what the caller keeps elsewhere is copied. */
static lwc_status take_inputs(cpu_context *context, const lwc_tensor_data *inputs)
{
    for (uint32_t i = 0; i < context->base.program->input_count; i++) {
        const void *data = inputs[i].data;
        void *copy = is_aligned(data) ? NULL : own_copy(context, LWC_INPUT, i);
        context->sources[i] = copy ? copy : data;
        const lwc_port *port = &context->base.program->inputs[i];
        if (lwc_take_input(context->pool, port, data, copy))
            continue;
        lwc_set_error("run: input '%s' holds NaN or infinity", port->name);
        return LWC_ERROR_NOT_FINITE;
    }
    return LWC_OK;
}

static void bind_tensors(cpu_context *context, const lwc_tensor_data *outputs)
{
    const lwc_program *program = context->base.program;
    for (uint32_t i = 0; i < program->output_count; i++)
        context->targets[i] = is_aligned(outputs[i].data) ? outputs[i].data : own_copy(context, LWC_OUTPUT, i);
    for (uint32_t i = 0; i < program->buffer_count; i++) {
        const lwc_buffer *buffer = &program->buffers[i];
        if (buffer->space == LWC_INPUT) /* kernels only read them */
            context->tensors[i].data = (void *)(uintptr_t)context->sources[buffer->offset];
        if (buffer->space == LWC_OUTPUT)
            context->tensors[i].data = context->targets[buffer->offset];
    }
}

static lwc_status run_calls(cpu_context *context, uint64_t *nanoseconds)
{
    const lwc_program *program = context->base.program;
    uint32_t done = 0;
    lwc_set_error("%s", "");
    lwc_pool_enter(context->pool);
    for (; done < program->call_count; done++) {
        const lwc_call *call = &program->calls[done];
        tvm_any result = {0};
        const uint64_t start = nanoseconds ? lwc_nanoseconds() : 0;
        if (call->kernel(NULL, context->operands + call->first, (int32_t)call->count, &result) != 0)
            break;
        if (nanoseconds)
            nanoseconds[done] = lwc_nanoseconds() - start;
    }
    lwc_pool_leave();
    if (done == program->call_count)
        return LWC_OK;
    if (*lwc_get_error() == 0)
        lwc_set_error("run: kernel %u failed", done);
    return LWC_ERROR_KERNEL;
}

static void copy_outputs(const cpu_context *context, const lwc_tensor_data *outputs)
{
    for (uint32_t i = 0; i < context->base.program->output_count; i++) {
        if (context->targets[i] != outputs[i].data)
            memcpy(outputs[i].data, context->targets[i], outputs[i].bytes);
    }
}

lwc_status lwc_context_run(lwc_context *base, const lwc_tensor_data *inputs, const lwc_tensor_data *outputs,
                           uint64_t *nanoseconds)
{
    cpu_context *context = (cpu_context *)base;
    lwc_pool_announce(context->pool);
    lwc_status status = take_inputs(context, inputs);
    if (status != LWC_OK)
        return status;
    bind_tensors(context, outputs);
    status = run_calls(context, nanoseconds);
    if (status == LWC_OK)
        copy_outputs(context, outputs);
    return status;
}
