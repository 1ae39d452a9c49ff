/* Whether the tensors of a run fit the program. */
#include "context.h"

#include <string.h>

static bool overlaps(const lwc_tensor_data *a, const lwc_tensor_data *b)
{
    const uintptr_t first = (uintptr_t)a->data, second = (uintptr_t)b->data;
    return a->memory == b->memory && first < second + b->bytes && second < first + a->bytes;
}

static lwc_status overlap(const char *text)
{
    lwc_set_error("%s", text);
    return LWC_ERROR_OVERLAP;
}

/* An address in the GPU's memory means nothing to the processor. */
static lwc_status check_memory(bool on_gpu, lwc_memory memory, const char *kind, const char *name)
{
    if (memory == LWC_HOST || (memory == LWC_CUDA && on_gpu))
        return LWC_OK;
    if (memory == LWC_CUDA)
        lwc_set_error("run: %s '%s' is in device memory; this library runs on the processor", kind, name);
    else
        lwc_set_error("run: the memory of %s '%s' is neither LWC_HOST nor LWC_CUDA", kind, name);
    return LWC_ERROR_DEVICE;
}

static lwc_status check_ports(bool on_gpu, const lwc_port *ports, uint32_t wanted, const lwc_tensor_data *given,
                              uint32_t count, const char *kind)
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
        const lwc_status status = check_memory(on_gpu, given[i].memory, kind, ports[i].name);
        if (status)
            return status;
    }
    return LWC_OK;
}

lwc_status lwc_check_tensors(const lwc_program *program, const lwc_tensor_data *inputs, uint32_t input_count,
                             const lwc_tensor_data *outputs, uint32_t output_count)
{
    const bool on_gpu = program->on_gpu;
    lwc_status status = check_ports(on_gpu, program->inputs, program->input_count, inputs, input_count, "input");
    if (!status)
        status = check_ports(on_gpu, program->outputs, program->output_count, outputs, output_count, "output");
    if (status)
        return status;
    for (uint32_t i = 0; i < output_count; i++) {
        for (uint32_t j = 0; j < input_count; j++) {
            if (overlaps(&outputs[i], &inputs[j]))
                return overlap("run: an output's memory overlaps an input's");
        }
        for (uint32_t j = 0; j < i; j++) {
            if (overlaps(&outputs[i], &outputs[j]))
                return overlap("run: the memory of two outputs overlaps");
        }
    }
    return LWC_OK;
}
