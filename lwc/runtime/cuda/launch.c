/* The calls of a program as launches: once into a graph, or one by one to be timed. */
#include "cuda/gpu_context.h"

#include <stdlib.h>

static lwc_status launch_call(const gpu_context *context, uint32_t call)
{
    const lwc_launch *launch = &lwc_the_device_code.launches[call];
    const uint32_t *grid = launch->grid, *block = launch->block;
    return LWC_CALL(&context->resident->gpu.driver, cuLaunchKernel, context->resident->functions[call], grid[0],
                    grid[1], grid[2], block[0], block[1], block[2], 0, context->stream,
                    context->arguments + launch->first, NULL);
}

/* A launch by itself takes a few microseconds of the processor, as long as a small kernel runs; of a graph it is
 * one launch for all. Other threads may go on using the GPU meanwhile: the mode looks at this one alone. */
lwc_status lwc_capture_calls(gpu_context *context)
{
    const lwc_driver *driver = &context->resident->gpu.driver;
    cu_graph graph = NULL;
    lwc_status status = LWC_CALL(driver, cuStreamBeginCapture_v2, context->stream, CU_CAPTURE_THREAD_LOCAL);
    if (status)
        return status;
    for (uint32_t i = 0; status == LWC_OK && i < context->base.program->call_count; i++)
        status = launch_call(context, i);
    LWC_CALL_ANYWAY(status, driver, cuStreamEndCapture, context->stream, &graph);
    if (status == LWC_OK)
        status = LWC_CALL(driver, cuGraphInstantiateWithFlags, &context->graph, graph, 0);
    if (graph)
        LWC_CALL_ANYWAY(status, driver, cuGraphDestroy, graph);
    return status;
}

static lwc_status record_calls(const gpu_context *context, const cu_event *events)
{
    const lwc_driver *driver = &context->resident->gpu.driver;
    lwc_status status = LWC_CALL(driver, cuEventRecord, events[0], context->stream);
    for (uint32_t i = 0; status == LWC_OK && i < context->base.program->call_count; i++) {
        status = launch_call(context, i);
        if (status == LWC_OK)
            status = LWC_CALL(driver, cuEventRecord, events[i + 1], context->stream);
    }
    LWC_CALL_ANYWAY(status, driver, cuStreamSynchronize, context->stream);
    return status;
}

static lwc_status read_times(const gpu_context *context, const cu_event *events, uint64_t *nanoseconds)
{
    lwc_status status = LWC_OK;
    for (uint32_t i = 0; status == LWC_OK && i < context->base.program->call_count; i++) {
        float milliseconds = 0;
        status = LWC_CALL(&context->resident->gpu.driver, cuEventElapsedTime, &milliseconds, events[i], events[i + 1]);
        nanoseconds[i] = (uint64_t)(1e6 * (double)milliseconds);
    }
    return status;
}

lwc_status lwc_time_calls(gpu_context *context, uint64_t *nanoseconds)
{
    const lwc_driver *driver = &context->resident->gpu.driver;
    const uint32_t count = context->base.program->call_count + 1;
    cu_event *events = calloc(count, sizeof *events);
    if (!events) {
        lwc_set_error("run_profiled: out of memory");
        return LWC_ERROR_MEMORY;
    }
    lwc_status status = LWC_OK;
    for (uint32_t i = 0; status == LWC_OK && i < count; i++)
        status = LWC_CALL(driver, cuEventCreate, &events[i], CU_EVENT_TIMED);
    if (status == LWC_OK)
        status = record_calls(context, events);
    if (status == LWC_OK)
        status = read_times(context, events, nanoseconds);
    for (uint32_t i = 0; i < count && events[i]; i++)
        LWC_CALL_ANYWAY(status, driver, cuEventDestroy_v2, events[i]);
    free(events);
    return status;
}
