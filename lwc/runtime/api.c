/* The library's public functions; LWC_HEADER is the package's header, LWC_PREFIX the model's name and "_". */
#define _POSIX_C_SOURCE 200809L
#include "lwc_internal.h"

#include LWC_HEADER

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LWC_PASTE(a, b) a##b
#define LWC_JOIN(a, b) LWC_PASTE(a, b)
#define API(name) LWC_JOIN(LWC_PREFIX, name)

struct lwc_model {
    const lwc_program *program;
};

struct lwc_context {
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

static const lwc_model the_model = {&lwc_the_program};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static lwc_context *live;

static lwc_status fail(lwc_status status, const char *text)
{
    lwc_set_error("%s", text);
    return status;
}

static size_t aligned(size_t bytes)
{
    return (bytes + LWC_ALIGNMENT - 1) / LWC_ALIGNMENT * LWC_ALIGNMENT;
}

static bool is_aligned(const void *pointer)
{
    return (uintptr_t)pointer % LWC_ALIGNMENT == 0;
}

const char *API(last_error)(void)
{
    return lwc_get_error();
}

lwc_status API(open)(const lwc_model **model)
{
    if (!model)
        return fail(LWC_ERROR_NULL, "open: the address of the model is null");
    const char *missing = lwc_missing_cpu_feature(the_model.program->cpu_features);
    if (missing) {
        lwc_set_error("open: this processor has no %s; compile the model for it", missing);
        return LWC_ERROR_CPU;
    }
    *model = &the_model;
    return LWC_OK;
}

static lwc_status check_model(const lwc_model *model)
{
    if (!model)
        return fail(LWC_ERROR_NULL, "the model is null");
    return model == &the_model ? LWC_OK : fail(LWC_ERROR_HANDLE, "the model is not one that this library opened");
}

uint32_t API(input_count)(const lwc_model *model)
{
    return check_model(model) == LWC_OK ? model->program->input_count : 0;
}

uint32_t API(output_count)(const lwc_model *model)
{
    return check_model(model) == LWC_OK ? model->program->output_count : 0;
}

static lwc_status describe(const lwc_port *ports, uint32_t count, uint32_t index, lwc_tensor_info *info)
{
    if (!info)
        return fail(LWC_ERROR_NULL, "the address of the description is null");
    if (index >= count)
        return fail(LWC_ERROR_INDEX, "there is no input or output of that index");
    const lwc_port *port = &ports[index];
    *info = (lwc_tensor_info){.name = port->name,
                              .layout = port->layout,
                              .dtype = LWC_FLOAT32,
                              .rank = port->rank,
                              .bytes = port->bytes};
    memcpy(info->shape, port->shape, port->rank * sizeof *port->shape);
    return LWC_OK;
}

lwc_status API(input_info)(const lwc_model *model, uint32_t index, lwc_tensor_info *info)
{
    const lwc_status status = check_model(model);
    return status ? status : describe(model->program->inputs, model->program->input_count, index, info);
}

lwc_status API(output_info)(const lwc_model *model, uint32_t index, lwc_tensor_info *info)
{
    const lwc_status status = check_model(model);
    return status ? status : describe(model->program->outputs, model->program->output_count, index, info);
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
static unsigned char *own_copy(const lwc_context *context, lwc_space space, uint32_t index)
{
    const lwc_program *program = the_model.program;
    unsigned char *place = context->memory + aligned((size_t)program->arena_bytes);
    const uint32_t inputs = space == LWC_INPUT ? index : program->input_count;
    const uint32_t outputs = space == LWC_OUTPUT ? index : 0;
    for (uint32_t i = 0; i < inputs; i++)
        place += aligned(program->inputs[i].bytes);
    for (uint32_t i = 0; i < outputs; i++)
        place += aligned(program->outputs[i].bytes);
    return place;
}

static void bind_buffers(lwc_context *context)
{
    const lwc_program *program = the_model.program;
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

static void free_context(lwc_context *context)
{
    lwc_pool_destroy(context->pool);
    free(context->memory);
    free(context->tensors);
    free(context->operands);
    free(context);
}

static uint32_t choose_threads(const lwc_program *program, uint32_t wanted)
{
    const uint32_t threads = wanted ? wanted : program->threads;
    return threads ? threads : lwc_available_cores();
}

lwc_status API(create_context)(const lwc_model *model, uint32_t threads, lwc_context **context)
{
    const lwc_status status = check_model(model);
    if (status)
        return status;
    if (!context)
        return fail(LWC_ERROR_NULL, "create_context: the address of the context is null");
    if (threads > LWC_MAX_THREADS)
        return fail(LWC_ERROR_SIZE, "create_context: more than 256 threads");
    const lwc_program *program = model->program;
    lwc_context *made = calloc(1, sizeof *made);
    if (!made)
        return fail(LWC_ERROR_MEMORY, "create_context: out of memory");
    threads = choose_threads(program, threads);
    made->process = getpid();
    made->memory = lwc_allocate(memory_bytes(program));
    made->tensors = calloc(program->buffer_count, sizeof *made->tensors);
    made->operands = calloc(program->operand_count, sizeof *made->operands);
    made->pool = lwc_pool_create(threads < LWC_MAX_THREADS ? threads : LWC_MAX_THREADS);
    if (!made->memory || !made->tensors || !made->operands || !made->pool) {
        free_context(made);
        return fail(LWC_ERROR_MEMORY, "create_context: out of memory, or no more threads can be started");
    }
    bind_buffers(made);
    pthread_mutex_lock(&mutex);
    made->next = live;
    live = made;
    pthread_mutex_unlock(&mutex);
    *context = made;
    return LWC_OK;
}

/* The link that holds `context` in the list of live ones; NULL where it is not there. Under the mutex. */
static lwc_context **find(const lwc_context *context)
{
    for (lwc_context **link = &live; *link; link = &(*link)->next) {
        if (*link == context)
            return link;
    }
    return NULL;
}

/* Why `context` cannot be taken now. Under the mutex. */
static lwc_status refuse(const lwc_context *context)
{
    if (!context)
        return fail(LWC_ERROR_NULL, "the context is null");
    if (!find(context))
        return fail(LWC_ERROR_HANDLE, "the context does not exist, or no longer");
    if (context->process != getpid())
        return fail(LWC_ERROR_FORKED, "the context belongs to the parent process; create one after fork()");
    if (context->busy)
        return fail(LWC_ERROR_BUSY, "the context is in use by another thread; create one for each thread");
    return LWC_OK;
}

lwc_status API(destroy_context)(lwc_context *context)
{
    pthread_mutex_lock(&mutex);
    const lwc_status status = refuse(context);
    if (status == LWC_OK)
        *find(context) = context->next;
    pthread_mutex_unlock(&mutex);
    if (status == LWC_OK)
        free_context(context);
    return status;
}

static lwc_status acquire(lwc_context *context)
{
    pthread_mutex_lock(&mutex);
    const lwc_status status = refuse(context);
    if (status == LWC_OK)
        context->busy = true;
    pthread_mutex_unlock(&mutex);
    return status;
}

static void release(lwc_context *context)
{
    pthread_mutex_lock(&mutex);
    context->busy = false;
    pthread_mutex_unlock(&mutex);
}

/* Infinity and NaN have all bits of the exponent set (IEEE 754). */
static bool all_finite(const void *values, size_t bytes)
{
    uint32_t infinite = 0;
    const unsigned char *place = values;
    for (size_t i = 0; i < bytes; i += sizeof(uint32_t)) {
        uint32_t bits;
        memcpy(&bits, place + i, sizeof bits);
        infinite |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !infinite;
}

static bool overlaps(const lwc_tensor_data *a, const lwc_tensor_data *b)
{
    const uintptr_t first = (uintptr_t)a->data, second = (uintptr_t)b->data;
    return first < second + b->bytes && second < first + a->bytes;
}

static lwc_status check_tensors(const lwc_port *ports, uint32_t wanted, const lwc_tensor_data *given, uint32_t count,
                                const char *kind)
{
    if (count != wanted) {
        lwc_set_error("run: %u %ss given, the model has %u", count, kind, wanted);
        return LWC_ERROR_SIZE;
    }
    if (!given) {
        lwc_set_error("run: the array of %ss is null", kind);
        return LWC_ERROR_NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!given[i].data) {
            lwc_set_error("run: the data of %s '%s' is null", kind, ports[i].name);
            return LWC_ERROR_NULL;
        }
        if (given[i].bytes != ports[i].bytes) {
            lwc_set_error("run: %s '%s' has %zu bytes, not %zu", kind, ports[i].name, given[i].bytes, ports[i].bytes);
            return LWC_ERROR_SIZE;
        }
    }
    return LWC_OK;
}

static lwc_status check_run(const lwc_tensor_data *inputs, uint32_t input_count, const lwc_tensor_data *outputs,
                            uint32_t output_count)
{
    const lwc_program *program = the_model.program;
    lwc_status status = check_tensors(program->inputs, program->input_count, inputs, input_count, "input");
    if (!status)
        status = check_tensors(program->outputs, program->output_count, outputs, output_count, "output");
    if (status)
        return status;
    for (uint32_t i = 0; i < input_count; i++) {
        if (!all_finite(inputs[i].data, inputs[i].bytes)) {
            lwc_set_error("run: input '%s' holds NaN or infinity", program->inputs[i].name);
            return LWC_ERROR_NOT_FINITE;
        }
    }
    for (uint32_t i = 0; i < output_count; i++) {
        for (uint32_t j = 0; j < input_count; j++) {
            if (overlaps(&outputs[i], &inputs[j]))
                return fail(LWC_ERROR_OVERLAP, "run: an output's memory overlaps an input's");
        }
        for (uint32_t j = 0; j < i; j++) {
            if (overlaps(&outputs[i], &outputs[j]))
                return fail(LWC_ERROR_OVERLAP, "run: the memory of two outputs overlaps");
        }
    }
    return LWC_OK;
}

/* Kernels read and write whole vectors at aligned addresses: what the caller keeps elsewhere is copied. */
static void bind_tensors(lwc_context *context, const lwc_tensor_data *inputs, const lwc_tensor_data *outputs)
{
    const lwc_program *program = the_model.program;
    for (uint32_t i = 0; i < program->input_count; i++) {
        context->sources[i] = inputs[i].data;
        if (is_aligned(inputs[i].data))
            continue;
        unsigned char *copy = own_copy(context, LWC_INPUT, i);
        memcpy(copy, inputs[i].data, inputs[i].bytes);
        context->sources[i] = copy;
    }
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

static lwc_status run_calls(lwc_context *context)
{
    const lwc_program *program = the_model.program;
    lwc_pool_enter(context->pool);
    int failed = 0;
    for (uint32_t i = 0; i < program->call_count && !failed; i++) {
        const lwc_call *call = &program->calls[i];
        tvm_any result = {0};
        lwc_set_error("run: kernel %u failed", i);
        failed = call->kernel(NULL, context->operands + call->first, (int32_t)call->count, &result);
    }
    lwc_pool_leave();
    if (failed)
        return LWC_ERROR_KERNEL;
    lwc_set_error("%s", "");
    return LWC_OK;
}

static void copy_outputs(const lwc_context *context, const lwc_tensor_data *outputs)
{
    for (uint32_t i = 0; i < the_model.program->output_count; i++) {
        if (context->targets[i] != outputs[i].data)
            memcpy(outputs[i].data, context->targets[i], outputs[i].bytes);
    }
}

lwc_status API(run)(lwc_context *context, const lwc_tensor_data *inputs, uint32_t input_count,
                    const lwc_tensor_data *outputs, uint32_t output_count)
{
    lwc_status status = acquire(context);
    if (status)
        return status;
    status = check_run(inputs, input_count, outputs, output_count);
    if (status == LWC_OK) {
        bind_tensors(context, inputs, outputs);
        status = run_calls(context);
    }
    if (status == LWC_OK)
        copy_outputs(context, outputs);
    release(context);
    return status;
}
