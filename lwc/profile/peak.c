/* What this machine can do at most: multiply-adds of float32 and reading from memory, all threads at once.
 *
 * peak THREADS prints {"flops": operations a second, "bytes": bytes a second}. Each thread's best turn of many counts:
 * what else the machine does only takes away.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, SUMS = 24 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32, SUMS = 12 };
#else
enum { VECTOR_BYTES = 16, SUMS = 24 };
#endif
enum { LANES = VECTOR_BYTES / 4, TURNS = 100, STEPS = 100000, MEMORY_BYTES = 64 << 20, READS = 8, MAX_THREADS = 256 };

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));

typedef struct {
    vector *memory;
    double flops, bytes;
    pthread_t thread;
} worker;

static pthread_barrier_t barrier;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Sums that do not wait for each other; `scale` and `shift` are not known to the compiler. */
static double multiply_adds(vector *sums, vector scale, vector shift)
{
    vector local[SUMS];
    for (int i = 0; i < SUMS; i++)
        local[i] = sums[i];
    const double start = seconds();
    for (int step = 0; step < STEPS; step++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < SUMS; i++)
            local[i] = local[i] * scale + shift;
    }
    const double time = seconds() - start;
    for (int i = 0; i < SUMS; i++)
        sums[i] = local[i];
    return 2.0 * LANES * SUMS * STEPS / time;
}

static double reads(const vector *memory, vector *sum)
{
    vector local[READS] = {{0}};
    const size_t count = MEMORY_BYTES / sizeof(vector);
    const double start = seconds();
    for (size_t i = 0; i < count; i += READS) {
#pragma clang loop unroll(full)
        for (int k = 0; k < READS; k++)
            local[k] += memory[i + (size_t)k];
    }
    const double time = seconds() - start;
    for (int k = 0; k < READS; k++)
        *sum += local[k];
    return MEMORY_BYTES / time;
}

static void *work(void *argument)
{
    worker *self = argument;
    vector *memory = self->memory;
    for (size_t i = 0; i < MEMORY_BYTES / sizeof(vector); i++)
        memory[i] = (vector){0} + 1e-6f;
    vector sums[SUMS] = {{0}};
    pthread_barrier_wait(&barrier);
    for (int turn = 0; turn < TURNS; turn++) {
        const double flops = multiply_adds(sums, memory[0] + 0.5f, memory[1]);
        self->flops = flops > self->flops ? flops : self->flops;
    }
    pthread_barrier_wait(&barrier);
    for (int turn = 0; turn < TURNS / 4; turn++) {
        const double bytes = reads(memory, sums);
        self->bytes = bytes > self->bytes ? bytes : self->bytes;
    }
    volatile float sink = 0; /* what is not used need not be computed */
    for (int i = 0; i < SUMS; i++)
        sink += sums[i][0];
    return NULL;
}

int main(int argc, char **argv)
{
    const int threads = argc == 2 ? atoi(argv[1]) : 0;
    if (threads < 1 || threads > MAX_THREADS)
        return 2;
    static worker workers[MAX_THREADS];
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        void *memory = NULL;
        if (posix_memalign(&memory, VECTOR_BYTES, MEMORY_BYTES) != 0)
            return 6;
        workers[i].memory = memory;
    }
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            return 6;
    }
    double flops = 0, bytes = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        free(workers[i].memory);
        flops += workers[i].flops;
        bytes += workers[i].bytes;
    }
    printf("{\"flops\": %.6g, \"bytes\": %.6g}\n", flops, bytes);
    return 0;
}
