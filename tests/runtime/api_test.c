/* Every function of the API with right and with wrong arguments; says what went wrong and exits with 1. */
#define _POSIX_C_SOURCE 200809L
#include "affine.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 64, THREADS = 8, RUNS = 300, FORKS = 300 };

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, affine_last_error());     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static const lwc_model *model;

static float expected(int i, float x)
{
    return -2 * (x + (i < 3 ? (float)(i + 1) : 0));
}

static void run_and_check(lwc_context *context, float *x, float *z, float start)
{
    const lwc_tensor_data input = {x, N * sizeof *x, LWC_HOST}, output = {z, N * sizeof *z, LWC_HOST};
    for (int i = 0; i < N; i++)
        x[i] = start + (float)i;
    EXPECT(affine_run(context, &input, 1, &output, 1) == LWC_OK);
    for (int i = 0; i < N; i++)
        EXPECT(z[i] == expected(i, x[i]));
}

static void descriptions(void)
{
    lwc_tensor_info info;
    EXPECT(affine_open(NULL) == LWC_ERROR_NULL);
    EXPECT(affine_input_count(NULL) == 0 && affine_output_count((const lwc_model *)&info) == 0);
    EXPECT(affine_input_count(model) == 1 && affine_output_count(model) == 1);
    EXPECT(affine_input_info(NULL, 0, &info) == LWC_ERROR_NULL);
    EXPECT(affine_input_info((const lwc_model *)&info, 0, &info) == LWC_ERROR_HANDLE);
    EXPECT(affine_input_info(model, 1, &info) == LWC_ERROR_INDEX);
    EXPECT(affine_output_info(model, UINT32_MAX, &info) == LWC_ERROR_INDEX);
    EXPECT(affine_output_info(model, 0, NULL) == LWC_ERROR_NULL);
    EXPECT(affine_output_info(model, 0, &info) == LWC_OK);
    EXPECT(strcmp(info.name, "z") == 0 && info.rank == 1 && info.shape[0] == N && info.bytes == AFFINE_Z_BYTES);
    EXPECT(info.dtype == LWC_FLOAT32 && strcmp(info.layout, "dims") == 0);
}

static void contexts(void)
{
    lwc_context *context = NULL;
    EXPECT(affine_create_context(NULL, 1, &context) == LWC_ERROR_NULL);
    EXPECT(affine_create_context(model, 1, NULL) == LWC_ERROR_NULL);
    EXPECT(affine_create_context(model, 257, &context) == LWC_ERROR_SIZE && context == NULL);
    EXPECT(affine_destroy_context(NULL) == LWC_ERROR_NULL);
    EXPECT(affine_destroy_context((lwc_context *)&context) == LWC_ERROR_HANDLE);
    for (uint32_t threads = 0; threads <= 16; threads++) {
        _Alignas(64) float x[N], z[N];
        EXPECT(affine_create_context(model, threads, &context) == LWC_OK);
        for (int run = 0; run < 20; run++)
            run_and_check(context, x, z, (float)run);
        EXPECT(affine_destroy_context(context) == LWC_OK);
        EXPECT(affine_destroy_context(context) == LWC_ERROR_HANDLE);
    }
}

static void wrong_runs(void)
{
    _Alignas(64) float x[2 * N] = {0}, z[2 * N] = {0};
    const lwc_tensor_data input = {x, N * sizeof *x, LWC_HOST}, output = {z, N * sizeof *z, LWC_HOST};
    const lwc_tensor_data shorter = {x, N * sizeof *x - 1, LWC_HOST}, null = {NULL, N * sizeof *x, LWC_HOST};
    lwc_context *context;
    EXPECT(affine_create_context(model, 2, &context) == LWC_OK);
    EXPECT(affine_run(NULL, &input, 1, &output, 1) == LWC_ERROR_NULL);
    EXPECT(affine_run((lwc_context *)x, &input, 1, &output, 1) == LWC_ERROR_HANDLE);
    EXPECT(affine_run(context, NULL, 1, &output, 1) == LWC_ERROR_NULL);
    EXPECT(affine_run(context, &input, 1, NULL, 1) == LWC_ERROR_NULL);
    EXPECT(affine_run(context, &null, 1, &output, 1) == LWC_ERROR_NULL);
    EXPECT(affine_run(context, &input, 1, &null, 1) == LWC_ERROR_NULL);
    EXPECT(affine_run(context, &input, 0, &output, 1) == LWC_ERROR_SIZE);
    EXPECT(affine_run(context, &input, 1, &output, 2) == LWC_ERROR_SIZE);
    EXPECT(affine_run(context, &shorter, 1, &output, 1) == LWC_ERROR_SIZE);
    EXPECT(strstr(affine_last_error(), "255 bytes, not 256") != NULL);
    EXPECT(affine_run(context, &input, 1, &shorter, 1) == LWC_ERROR_SIZE);
    EXPECT(affine_run(context, &input, 1, &input, 1) == LWC_ERROR_OVERLAP);
    const lwc_tensor_data half = {x + N / 2, N * sizeof *x, LWC_HOST};
    EXPECT(affine_run(context, &input, 1, &half, 1) == LWC_ERROR_OVERLAP);
    const lwc_tensor_data on_gpu = {x, sizeof *x * N, LWC_CUDA}, nowhere = {z, sizeof *z * N, (lwc_memory)7};
    EXPECT(affine_run(context, &on_gpu, 1, &output, 1) == LWC_ERROR_DEVICE);
    EXPECT(strstr(affine_last_error(), "'x' is in device memory; this library runs on the processor") != NULL);
    EXPECT(affine_run(context, &input, 1, &on_gpu, 1) == LWC_ERROR_DEVICE);
    EXPECT(affine_run(context, &input, 1, &nowhere, 1) == LWC_ERROR_DEVICE);
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 4 * N; i++) {
        x[i / 4] = bad[i % 4];
        EXPECT(affine_run(context, &input, 1, &output, 1) == LWC_ERROR_NOT_FINITE);
        x[i / 4] = 3e38f;
    }
    run_and_check(context, x, z, 1);
    EXPECT(*affine_last_error() == 0);
    EXPECT(affine_destroy_context(context) == LWC_OK);
    EXPECT(affine_run(context, &input, 1, &output, 1) == LWC_ERROR_HANDLE);
}

static void profiled(void)
{
    enum { CALLS = 2 };
    _Alignas(64) float x[N] = {0}, z[N] = {0};
    uint64_t times[CALLS + 1] = {0, 0, UINT64_MAX};
    const lwc_tensor_data input = {x, sizeof x, LWC_HOST}, output = {z, sizeof z, LWC_HOST};
    lwc_context *context;
    EXPECT(affine_call_count(NULL) == 0 && affine_call_count(model) == CALLS);
    EXPECT(affine_create_context(model, 2, &context) == LWC_OK);
    EXPECT(affine_run_profiled(context, &input, 1, &output, 1, NULL, CALLS) == LWC_ERROR_NULL);
    EXPECT(affine_run_profiled(context, &input, 1, &output, 1, times, CALLS + 1) == LWC_ERROR_SIZE);
    EXPECT(affine_run_profiled(NULL, &input, 1, &output, 1, times, CALLS) == LWC_ERROR_NULL);
    EXPECT(affine_run_profiled(context, &input, 0, &output, 1, times, CALLS) == LWC_ERROR_SIZE);
    EXPECT(times[0] == 0 && times[1] == 0);
    EXPECT(affine_run_profiled(context, &input, 1, &output, 1, times, CALLS) == LWC_OK);
    EXPECT(times[0] > 0 && times[0] < 10000000000u && times[1] > 0 && times[1] < 10000000000u);
    EXPECT(times[CALLS] == UINT64_MAX && z[0] == expected(0, 0));
    EXPECT(affine_destroy_context(context) == LWC_OK);
}

static void unaligned(void)
{
    unsigned char memory[2][N * sizeof(float) + 64];
    lwc_context *context;
    EXPECT(affine_create_context(model, 2, &context) == LWC_OK);
    for (size_t offset = 0; offset < 64; offset++) {
        float x[N], z[N];
        for (int i = 0; i < N; i++)
            x[i] = (float)i;
        memcpy(memory[0] + offset, x, sizeof x);
        const lwc_tensor_data input = {memory[0] + offset, sizeof x, LWC_HOST};
        const lwc_tensor_data output = {memory[1] + 63 - offset, sizeof z, LWC_HOST};
        EXPECT(affine_run(context, &input, 1, &output, 1) == LWC_OK);
        memcpy(z, memory[1] + 63 - offset, sizeof z);
        for (int i = 0; i < N; i++)
            EXPECT(z[i] == expected(i, x[i]));
    }
    EXPECT(affine_destroy_context(context) == LWC_OK);
}

static void *own_context(void *argument)
{
    _Alignas(64) float x[N], z[N];
    lwc_context *context;
    EXPECT(affine_create_context(model, 2, &context) == LWC_OK);
    for (int run = 0; run < RUNS; run++)
        run_and_check(context, x, z, (float)(run + *(int *)argument));
    EXPECT(affine_destroy_context(context) == LWC_OK);
    return NULL;
}

static lwc_context *shared;
static int served, refused;
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;

static void *one_context(void *argument)
{
    _Alignas(64) float x[N] = {0}, z[N];
    const lwc_tensor_data input = {x, sizeof x, LWC_HOST}, output = {z, sizeof z, LWC_HOST};
    (void)argument;
    for (int run = 0; run < RUNS; run++) {
        const lwc_status status = affine_run(shared, &input, 1, &output, 1);
        EXPECT(status == LWC_OK || status == LWC_ERROR_BUSY);
        pthread_mutex_lock(&counting);
        served += status == LWC_OK;
        refused += status == LWC_ERROR_BUSY;
        pthread_mutex_unlock(&counting);
    }
    return NULL;
}

static void many_threads(void *(*work)(void *))
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        EXPECT(pthread_create(&threads[i], NULL, work, &numbers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
}

static void after_fork(void)
{
    _Alignas(64) float x[N], z[N];
    lwc_context *context;
    EXPECT(affine_create_context(model, 2, &context) == LWC_OK);
    const pid_t child = fork();
    if (child == 0) {
        const lwc_tensor_data input = {x, sizeof x, LWC_HOST}, output = {z, sizeof z, LWC_HOST};
        memset(x, 0, sizeof x);
        EXPECT(affine_run(context, &input, 1, &output, 1) == LWC_ERROR_FORKED);
        EXPECT(affine_create_context(model, 2, &context) == LWC_OK);
        run_and_check(context, x, z, 5);
        EXPECT(affine_destroy_context(context) == LWC_OK);
        _exit(0);
    }
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    run_and_check(context, x, z, 7);
    EXPECT(affine_destroy_context(context) == LWC_OK);
}

static atomic_bool busy_calling;

static void *call_on(void *argument)
{
    (void)argument;
    while (atomic_load(&busy_calling))
        EXPECT(affine_destroy_context((lwc_context *)&busy_calling) == LWC_ERROR_HANDLE);
    return NULL;
}

/* The child must not inherit a lock that another thread held. */
static void forks_beside_calls(void)
{
    pthread_t thread;
    lwc_context *context;
    EXPECT(affine_create_context(model, 1, &context) == LWC_OK);
    EXPECT(affine_destroy_context(context) == LWC_OK);
    atomic_store(&busy_calling, true);
    EXPECT(pthread_create(&thread, NULL, call_on, NULL) == 0);
    for (int i = 0; i < FORKS; i++) {
        const pid_t child = fork();
        if (child == 0) {
            alarm(30);
            EXPECT(affine_create_context(model, 1, &context) == LWC_OK);
            _exit(0);
        }
        int status = -1;
        EXPECT(waitpid(child, &status, 0) == child && status == 0);
    }
    atomic_store(&busy_calling, false);
    EXPECT(pthread_join(thread, NULL) == 0);
}

int main(int argc, char **argv)
{
    EXPECT(affine_open(&model) == LWC_OK);
    descriptions();
    contexts();
    wrong_runs();
    profiled();
    unaligned();
    many_threads(own_context);
    EXPECT(affine_create_context(model, 2, &shared) == LWC_OK);
    many_threads(one_context);
    EXPECT(affine_destroy_context(shared) == LWC_OK);
    EXPECT(served > 0 && served + refused == THREADS * RUNS);
    if (argc == 1 || strcmp(argv[1], "no-fork") != 0) {
        after_fork();
        forks_beside_calls();
    }
    printf("%d served, %d refused as busy\n", served, refused);
    return 0;
}
