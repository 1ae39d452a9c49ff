/* A run on the GPU: inputs to the context's own memory, the graph of all calls, outputs from there.
 *
 * The graph is made for fixed addresses, so that tensors are copied even where they lie in the GPU's memory: that
 * takes a few microseconds, most of them to begin, as would giving the graph other addresses. */
#include "cuda/gpu_context.h"

/* On the calling thread: the 600 KB of an image take 10 microseconds. Values in the GPU's memory cannot be looked at
 * without waiting for them. */
static lwc_status check_values(const lwc_program *program, const lwc_tensor_data *inputs)
{
    for (uint32_t i = 0; i < program->input_count; i++) {
        const lwc_port *port = &program->inputs[i];
        if (!port->is_float || inputs[i].memory != LWC_HOST || lwc_all_finite(inputs[i].data, port->bytes))
            continue;
        lwc_set_error("run: input '%s' holds NaN or infinity", port->name);
        return LWC_ERROR_NOT_FINITE;
    }
    return LWC_OK;
}

static lwc_status queue_inputs(gpu_context *context, const lwc_tensor_data *inputs, cu_stream stream)
{
    const lwc_driver *driver = &context->resident->gpu.driver;
    lwc_status status = LWC_OK;
    for (uint32_t i = 0; status == LWC_OK && i < context->base.program->input_count; i++) {
        const cu_pointer to = lwc_own_input(context, i), from = (cu_pointer)(uintptr_t)inputs[i].data;
        if (inputs[i].memory == LWC_CUDA)
            status = LWC_CALL(driver, cuMemcpyDtoDAsync_v2, to, from, inputs[i].bytes, stream);
        else
            status = LWC_CALL(driver, cuMemcpyHtoDAsync_v2, to, inputs[i].data, inputs[i].bytes, stream);
    }
    return status;
}

static lwc_status queue_outputs(gpu_context *context, const lwc_tensor_data *outputs, cu_stream stream)
{
    const lwc_driver *driver = &context->resident->gpu.driver;
    lwc_status status = LWC_OK;
    for (uint32_t i = 0; status == LWC_OK && i < context->base.program->output_count; i++) {
        const cu_pointer to = (cu_pointer)(uintptr_t)outputs[i].data, from = lwc_own_output(context, i);
        if (outputs[i].memory == LWC_CUDA)
            status = LWC_CALL(driver, cuMemcpyDtoDAsync_v2, to, from, outputs[i].bytes, stream);
        else
            status = LWC_CALL(driver, cuMemcpyDtoHAsync_v2, outputs[i].data, from, outputs[i].bytes, stream);
    }
    return status;
}

/* Queues a whole run after all that was queued in this context before; with `nanoseconds` waits for the calls. */
static lwc_status queue_run(gpu_context *context, const lwc_tensor_data *inputs, const lwc_tensor_data *outputs,
                            uint64_t *nanoseconds, cu_stream stream)
{
    const lwc_driver *driver = &context->resident->gpu.driver;
    lwc_status status = LWC_OK;
    if (context->queued)
        status = LWC_CALL(driver, cuStreamWaitEvent, stream, context->done, 0);
    if (status == LWC_OK)
        status = queue_inputs(context, inputs, stream);
    if (status == LWC_OK)
        status = nanoseconds ? lwc_time_calls(context, nanoseconds)
                             : LWC_CALL(driver, cuGraphLaunch, context->graph, stream);
    return status == LWC_OK ? queue_outputs(context, outputs, stream) : status;
}

lwc_status lwc_context_run(lwc_context *base, const lwc_tensor_data *inputs, const lwc_tensor_data *outputs,
                           uint64_t *nanoseconds)
{
    gpu_context *context = (gpu_context *)base;
    lwc_status status = check_values(base->program, inputs);
    if (status == LWC_OK)
        status = lwc_gpu_enter(context->resident);
    if (status)
        return status;
    status = queue_run(context, inputs, outputs, nanoseconds, context->stream);
    /* Also after an error: a copy that was queued still reads or writes the caller's memory. */
    LWC_CALL_ANYWAY(status, &context->resident->gpu.driver, cuStreamSynchronize, context->stream);
    if (status == LWC_OK)
        context->queued = false;
    return lwc_gpu_leave(context->resident, status);
}

static lwc_status queue_on(gpu_context *context, const lwc_tensor_data *inputs, const lwc_tensor_data *outputs,
                           cu_stream stream)
{
    lwc_status status = lwc_gpu_enter(context->resident);
    if (status)
        return status;
    status = queue_run(context, inputs, outputs, NULL, stream);
    LWC_CALL_ANYWAY(status, &context->resident->gpu.driver, cuEventRecord, context->done, stream);
    context->queued = true;
    return lwc_gpu_leave(context->resident, status);
}

static lwc_status check_memory(const lwc_tensor_data *tensors, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (tensors[i].memory == LWC_CUDA)
            continue;
        lwc_set_error("run_on_stream: a tensor is not in the GPU's memory; copy it there, or call run");
        return LWC_ERROR_DEVICE;
    }
    return LWC_OK;
}

lwc_status API(run_on_stream)(lwc_context *context, const lwc_tensor_data *inputs, uint32_t input_count,
                              const lwc_tensor_data *outputs, uint32_t output_count, void *stream)
{
    lwc_status status = lwc_context_acquire(context);
    if (status)
        return status;
    status = lwc_check_tensors(context->program, inputs, input_count, outputs, output_count);
    if (status == LWC_OK)
        status = check_memory(inputs, input_count);
    if (status == LWC_OK)
        status = check_memory(outputs, output_count);
    if (status == LWC_OK)
        status = queue_on((gpu_context *)context, inputs, outputs, stream);
    lwc_context_release(context);
    return status;
}
