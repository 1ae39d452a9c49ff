/* The library's public functions, and which contexts live. */
#define _POSIX_C_SOURCE 200809L
#include "context.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

struct lwc_model {
    const lwc_program *program;
};

static const lwc_model the_model = {&lwc_the_program};
static _Atomic pid_t holder;
static lwc_context *live;

/* Guards the list and what it says of each context, for a few instructions at a time. The holder is known by its
 * process: a child that was forked meanwhile has not the thread that would unlock, and takes the lock over. */
static void lock(void)
{
    const pid_t process = getpid();
    for (;;) {
        pid_t seen = 0;
        if (atomic_compare_exchange_strong(&holder, &seen, process))
            return;
        if (seen != process && atomic_compare_exchange_strong(&holder, &seen, process))
            return;
        sched_yield();
    }
}

static void unlock(void)
{
    atomic_store(&holder, 0);
}

static lwc_status fail(lwc_status status, const char *text)
{
    lwc_set_error("%s", text);
    return status;
}

const char *API(last_error)(void)
{
    return lwc_get_error();
}

lwc_status API(open)(const lwc_model **model)
{
    if (!model)
        return fail(LWC_ERROR_NULL, "open: the address of the model is null");
    const lwc_status status = lwc_check_machine(the_model.program);
    if (status)
        return status;
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

uint32_t API(call_count)(const lwc_model *model)
{
    return check_model(model) == LWC_OK ? model->program->call_count : 0;
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
                              .dtype = port->is_float ? LWC_FLOAT32 : LWC_UINT8,
                              .rank = port->rank,
                              .bytes = port->bytes,
                              .scale = port->scale,
                              .zero_point = port->zero_point};
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

lwc_status API(create_context)(const lwc_model *model, uint32_t threads, lwc_context **context)
{
    lwc_status status = check_model(model);
    if (status)
        return status;
    if (!context)
        return fail(LWC_ERROR_NULL, "create_context: the address of the context is null");
    if (threads > LWC_MAX_THREADS)
        return fail(LWC_ERROR_SIZE, "create_context: more than 256 threads");
    lwc_context *made = NULL;
    status = lwc_context_new(model->program, threads, &made);
    if (status)
        return status;
    made->process = getpid();
    lock();
    made->next = live;
    live = made;
    unlock();
    *context = made;
    return LWC_OK;
}

/* The link that holds `context` in the list of live ones; NULL where it is not there. Under the lock. */
static lwc_context **find(const lwc_context *context)
{
    for (lwc_context **link = &live; *link; link = &(*link)->next) {
        if (*link == context)
            return link;
    }
    return NULL;
}

/* Why `context` cannot be taken now. Under the lock. */
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
    lock();
    const lwc_status status = refuse(context);
    if (status == LWC_OK)
        *find(context) = context->next;
    unlock();
    return status == LWC_OK ? lwc_context_free(context) : status;
}

lwc_status lwc_context_acquire(lwc_context *context)
{
    lock();
    const lwc_status status = refuse(context);
    if (status == LWC_OK)
        context->busy = true;
    unlock();
    return status;
}

void lwc_context_release(lwc_context *context)
{
    lock();
    context->busy = false;
    unlock();
}

static lwc_status run(lwc_context *context, const lwc_tensor_data *inputs, uint32_t input_count,
                      const lwc_tensor_data *outputs, uint32_t output_count, uint64_t *nanoseconds)
{
    lwc_status status = lwc_context_acquire(context);
    if (status)
        return status;
    status = lwc_check_tensors(context->program, inputs, input_count, outputs, output_count);
    if (status == LWC_OK)
        status = lwc_context_run(context, inputs, outputs, nanoseconds);
    lwc_context_release(context);
    return status;
}

lwc_status API(run)(lwc_context *context, const lwc_tensor_data *inputs, uint32_t input_count,
                    const lwc_tensor_data *outputs, uint32_t output_count)
{
    return run(context, inputs, input_count, outputs, output_count, NULL);
}

lwc_status API(run_profiled)(lwc_context *context, const lwc_tensor_data *inputs, uint32_t input_count,
                             const lwc_tensor_data *outputs, uint32_t output_count, uint64_t *nanoseconds,
                             uint32_t call_count)
{
    if (!nanoseconds)
        return fail(LWC_ERROR_NULL, "run_profiled: the address of the times is null");
    if (call_count != the_model.program->call_count)
        return fail(LWC_ERROR_SIZE, "run_profiled: not one time for each call");
    return run(context, inputs, input_count, outputs, output_count, nanoseconds);
}
