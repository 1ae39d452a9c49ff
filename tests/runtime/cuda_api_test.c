/* The API of a library for a GPU, in the parts that its arguments name; says what went wrong and exits with 1. */
#define _POSIX_C_SOURCE 200809L
#include "cuda_test.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, RUNS = 20, CALLS = 3 };

static const lwc_model *model;

static lwc_context *create(void)
{
    lwc_context *context = NULL;
    EXPECT(affine_create_context(model, 0, &context) == LWC_OK);
    return context;
}

static void run_and_check(lwc_context *context, int start)
{
    float x[N], z[N];
    uint8_t m[N], w[N];
    fill(x, m, start);
    const lwc_tensor_data inputs[] = {{x, sizeof x, LWC_HOST}, {m, sizeof m, LWC_HOST}};
    const lwc_tensor_data outputs[] = {{z, sizeof z, LWC_HOST}, {w, sizeof w, LWC_HOST}};
    EXPECT(affine_run(context, inputs, 2, outputs, 2) == LWC_OK);
    expect_results(x, m, z, w);
}

static void host(void)
{
    lwc_context *first = create(), *second = create();
    for (int run = 0; run < RUNS; run++) {
        run_and_check(first, run);
        run_and_check(second, -run);
    }
    EXPECT(affine_destroy_context(first) == LWC_OK);
    run_and_check(second, 1);
    EXPECT(affine_destroy_context(second) == LWC_OK);
    EXPECT(affine_destroy_context(second) == LWC_ERROR_HANDLE);
}

typedef struct {
    float x[N], z[N];
    uint8_t m[N], w[N];
    lwc_tensor_data inputs[2], outputs[2];
} device_tensors;

static void to_gpu(device_tensors *all, int start)
{
    fill(all->x, all->m, start);
    all->inputs[0] = (lwc_tensor_data){on_gpu(all->x, sizeof all->x), sizeof all->x, LWC_CUDA};
    all->inputs[1] = (lwc_tensor_data){on_gpu(all->m, sizeof all->m), sizeof all->m, LWC_CUDA};
    all->outputs[0] = (lwc_tensor_data){on_gpu(NULL, sizeof all->z), sizeof all->z, LWC_CUDA};
    all->outputs[1] = (lwc_tensor_data){on_gpu(NULL, sizeof all->w), sizeof all->w, LWC_CUDA};
}

static void check_gpu(device_tensors *all)
{
    read_gpu(all->z, all->outputs[0].data, sizeof all->z);
    read_gpu(all->w, all->outputs[1].data, sizeof all->w);
    expect_results(all->x, all->m, all->z, all->w);
}

static void free_all(device_tensors *all)
{
    for (int i = 0; i < 2; i++) {
        free_gpu(all->inputs[i].data);
        free_gpu(all->outputs[i].data);
    }
}

static void device(void)
{
    static device_tensors all;
    lwc_context *context = create();
    to_gpu(&all, 5);
    EXPECT(affine_run(context, all.inputs, 2, all.outputs, 2) == LWC_OK);
    check_gpu(&all);
    /* One of each kind. */
    float z[N];
    const lwc_tensor_data inputs[] = {all.inputs[0], {all.m, sizeof all.m, LWC_HOST}};
    const lwc_tensor_data outputs[] = {{z, sizeof z, LWC_HOST}, all.outputs[1]};
    EXPECT(affine_run(context, inputs, 2, outputs, 2) == LWC_OK);
    EXPECT(memcmp(z, all.z, sizeof z) == 0);
    free_all(&all);
    EXPECT(affine_destroy_context(context) == LWC_OK);
}

/* The second run waits for the first on another stream; the third, on the context's own, for the second. */
static void stream(void)
{
    static device_tensors all[2];
    cu_stream streams[2];
    lwc_context *context = create();
    for (int i = 0; i < 2; i++) {
        EXPECT(gpu.cuStreamCreate(&streams[i], CU_STREAM_NON_BLOCKING) == 0);
        to_gpu(&all[i], 10 * i);
        EXPECT(affine_run_on_stream(context, all[i].inputs, 2, all[i].outputs, 2, streams[i]) == LWC_OK);
    }
    read_gpu(all[1].z, all[1].outputs[0].data, sizeof all[1].z);
    EXPECT(isnan(all[1].z[0])); /* the stand-in begins when somebody waits */
    EXPECT(gpu.cuStreamSynchronize(streams[1]) == 0);
    check_gpu(&all[1]);
    check_gpu(&all[0]);
    EXPECT(affine_run_on_stream(context, all[1].inputs, 2, all[0].outputs, 2, streams[0]) == LWC_OK);
    run_and_check(context, 3);
    EXPECT(affine_run_on_stream(context, all[0].inputs, 2, all[0].outputs, 2, NULL) == LWC_OK);
    EXPECT(affine_destroy_context(context) == LWC_OK);
    check_gpu(&all[0]);
    for (int i = 0; i < 2; i++) {
        free_all(&all[i]);
        EXPECT(gpu.cuStreamDestroy_v2(streams[i]) == 0);
    }
}

static void profile(void)
{
    float x[N], z[N];
    uint8_t m[N], w[N];
    uint64_t times[CALLS] = {0};
    fill(x, m, 2);
    const lwc_tensor_data inputs[] = {{x, sizeof x, LWC_HOST}, {m, sizeof m, LWC_HOST}};
    const lwc_tensor_data outputs[] = {{z, sizeof z, LWC_HOST}, {w, sizeof w, LWC_HOST}};
    lwc_context *context = create();
    EXPECT(affine_call_count(model) == CALLS);
    EXPECT(affine_run_profiled(context, inputs, 2, outputs, 2, times, CALLS) == LWC_OK);
    expect_results(x, m, z, w);
    for (int i = 0; i < CALLS; i++)
        EXPECT(times[i] < 1000000000u);
    EXPECT(affine_run_profiled(context, inputs, 2, outputs, 2, times, CALLS - 1) == LWC_ERROR_SIZE);
    EXPECT(affine_destroy_context(context) == LWC_OK);
}

static void wrong(void)
{
    static device_tensors all;
    float z[2 * N];
    lwc_context *context = create();
    to_gpu(&all, 0);
    const lwc_tensor_data host_outputs[] = {{z, sizeof all.z, LWC_HOST}, all.outputs[1]};
    EXPECT(affine_run_on_stream(context, all.inputs, 2, host_outputs, 2, NULL) == LWC_ERROR_DEVICE);
    EXPECT(strstr(affine_last_error(), "not in the GPU's memory") != NULL);
    EXPECT(affine_run_on_stream(NULL, all.inputs, 2, all.outputs, 2, NULL) == LWC_ERROR_NULL);
    EXPECT(affine_run_on_stream(context, all.inputs, 1, all.outputs, 2, NULL) == LWC_ERROR_SIZE);
    EXPECT(affine_run_on_stream(context, all.inputs, 2, all.outputs, 2, (void *)z) == LWC_ERROR_DEVICE);
    const lwc_tensor_data overlapping[] = {all.inputs[0], all.outputs[1]};
    EXPECT(affine_run(context, all.inputs, 2, overlapping, 2) == LWC_ERROR_OVERLAP);
    /* The processor's memory for the GPU's, and the other way round. */
    const lwc_tensor_data as_device[] = {{z, sizeof all.z, LWC_CUDA}, all.outputs[1]};
    EXPECT(affine_run(context, all.inputs, 2, as_device, 2) == LWC_ERROR_DEVICE);
    EXPECT(strstr(affine_last_error(), "cuMemcpyDtoDAsync_v2") != NULL);
    /* Equal addresses in different memories are no overlap. */
    const lwc_tensor_data same[] = {as_device[0], all.inputs[1]};
    EXPECT(affine_run(context, same, 2, host_outputs, 2) == LWC_ERROR_DEVICE);
    const lwc_tensor_data inputs[] = {{z, sizeof all.x, LWC_HOST}, all.inputs[1]};
    memset(z, 0, sizeof z);
    z[N - 1] = NAN;
    EXPECT(affine_run(context, inputs, 2, all.outputs, 2) == LWC_ERROR_NOT_FINITE);
    z[N - 1] = 3e38f;
    EXPECT(affine_run(context, inputs, 2, all.outputs, 2) == LWC_OK);
    free_all(&all);
    run_and_check(context, 1);
    EXPECT(affine_destroy_context(context) == LWC_OK);
}

static void *own_context(void *argument)
{
    for (int round = 0; round < 3; round++) {
        lwc_context *context = create();
        for (int run = 0; run < RUNS; run++)
            run_and_check(context, run + *(int *)argument);
        EXPECT(affine_destroy_context(context) == LWC_OK);
    }
    return NULL;
}

static void threads(void)
{
    pthread_t started[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        EXPECT(pthread_create(&started[i], NULL, own_context, &numbers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        EXPECT(pthread_join(started[i], NULL) == 0);
}

static void in_child(void (*work)(lwc_context *), lwc_context *context)
{
    const pid_t child = fork();
    if (child == 0) {
        alarm(30);
        work(context);
        _exit(0);
    }
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
}

static void use_first(lwc_context *context)
{
    (void)context;
    EXPECT(affine_open(&model) == LWC_OK);
    context = create();
    run_and_check(context, 4);
    EXPECT(affine_destroy_context(context) == LWC_OK);
}

static void use_after_parent(lwc_context *context)
{
    const lwc_model *opened;
    lwc_context *other = NULL;
    const lwc_tensor_data none = {0};
    EXPECT(affine_open(&opened) == LWC_ERROR_FORKED);
    EXPECT(affine_create_context(model, 0, &other) == LWC_ERROR_FORKED && !other);
    EXPECT(strstr(affine_last_error(), "open the model in the child alone") != NULL);
    EXPECT(affine_run(context, &none, 1, &none, 1) == LWC_ERROR_FORKED);
    EXPECT(affine_destroy_context(context) == LWC_ERROR_FORKED);
}

static void forks(void)
{
    in_child(use_first, NULL);
    EXPECT(affine_open(&model) == LWC_OK);
    lwc_context *context = create();
    in_child(use_after_parent, context);
    run_and_check(context, 6);
    EXPECT(affine_destroy_context(context) == LWC_OK);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*work)(void);
        bool with_gpu; /* uses the driver by itself, too */
    } parts[] = {{"host", host, false},       {"device", device, true}, {"stream", stream, true},
                 {"profile", profile, false}, {"wrong", wrong, true},   {"threads", threads, false}};
    if (argc == 2 && strcmp(argv[1], "fork") == 0) {
        forks();
        return 0;
    }
    EXPECT(affine_open(&model) == LWC_OK);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (argc != 2 || strcmp(argv[1], parts[i].name) != 0)
            continue;
        if (parts[i].with_gpu)
            open_gpu();
        parts[i].work();
        if (parts[i].with_gpu)
            close_gpu();
        return 0;
    }
    return 2;
}
