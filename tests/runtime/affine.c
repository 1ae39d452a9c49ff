/* A program of two kernels, written by hand as TVM would compile them: y = 2 (x + bias), z = -y, 64 values each. */
#include "lwc_internal.h"

#include <string.h>

enum { N = 64 };

extern int (*__TVMBackendParallelLaunch)(tvm_task *, void *, int);
extern void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int);
extern int (*__TVMBackendFreeWorkspace)(int, int, void *);

typedef struct {
    const float *x, *bias;
    float *y;
} operands;

static int affine_task(int task, tvm_parallel_group *group, void *closure)
{
    const operands *o = closure;
    const int share = (N + group->tasks - 1) / group->tasks;
    float *copy = __TVMBackendAllocWorkspace(1, 0, N * sizeof *copy, 2, 32);
    if (!copy)
        return -1;
    memcpy(copy, o->x, N * sizeof *copy);
    for (int i = task * share; i < N && i < (task + 1) * share; i++)
        o->y[i] = 2 * (copy[i] + o->bias[i]);
    return __TVMBackendFreeWorkspace(1, 0, copy);
}

static float *data(const tvm_any *argument)
{
    const dl_tensor *tensor = argument->value.pointer;
    return tensor->data;
}

static int affine(void *self, const tvm_any *arguments, int32_t count, tvm_any *result)
{
    (void)self, (void)result;
    operands o = {data(&arguments[0]), data(&arguments[1]), data(&arguments[2])};
    return count == 3 ? __TVMBackendParallelLaunch(affine_task, &o, 0) : -1;
}

static int negate(void *self, const tvm_any *arguments, int32_t count, tvm_any *result)
{
    (void)self, (void)result, (void)count;
    for (int i = 0; i < N; i++)
        data(&arguments[1])[i] = -data(&arguments[0])[i];
    return 0;
}

static const _Alignas(64) float weights[N] = {1, 2, 3};
static const int64_t shapes[] = {N};
static const lwc_buffer buffers[] = {
    {LWC_INPUT, 0, 1, {2, 32, 1}, shapes},
    {LWC_WEIGHTS, 0, 1, {2, 32, 1}, shapes},
    {LWC_ARENA, 0, 1, {2, 32, 1}, shapes},
    {LWC_OUTPUT, 0, 1, {2, 32, 1}, shapes},
};
static const uint32_t order[] = {0, 1, 2, 2, 3};
static const lwc_call calls[] = {{affine, 0, 3}, {negate, 3, 2}};
static const lwc_port inputs[] = {{"x", "dims", 1, shapes, N * sizeof(float), true, 1, 0}};
static const lwc_port outputs[] = {{"z", "dims", 1, shapes, N * sizeof(float), true, 1, 0}};
static const char *const cpu_features[] = {NULL};

const lwc_program lwc_the_program = {
    .inputs = inputs,
    .outputs = outputs,
    .input_count = 1,
    .output_count = 1,
    .buffers = buffers,
    .buffer_count = 4,
    .operands = order,
    .operand_count = 5,
    .calls = calls,
    .call_count = 2,
    .weights = (const unsigned char *)weights,
    .arena_bytes = N * sizeof(float),
    .thread_bytes = N * sizeof(float),
    .threads = 2,
    .cpu_features = cpu_features,
};
