/* What this machine can do at most: multiply-adds of float32 and reading from memory, all threads at once.
 *
 * peak THREADS prints {"flops": operations a second, "bytes": bytes a second}. All threads take each turn together, and
 * the best of many turns counts: what else the machine does only takes away.
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
enum { LANES = VECTOR_BYTES / 4, TURNS = 100, STEPS = 300000, MEMORY_BYTES = 64 << 20, READS = 8, MAX_THREADS = 256 };

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));

typedef struct {
    vector *memory;
    double start, end; /* of the last turn */
    pthread_t thread;
} worker;

static worker workers[MAX_THREADS];
static int threads;
static double best_flops, best_bytes;
static pthread_barrier_t barrier;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Sums that do not wait for each other; `scale` and `shift` are not known to the compiler. */
static void multiply_adds(vector *sums, vector scale, vector shift)
{
    vector local[SUMS];
    for (int i = 0; i < SUMS; i++)
        local[i] = sums[i];
    for (int step = 0; step < STEPS; step++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < SUMS; i++)
            local[i] = local[i] * scale + shift;
    }
    for (int i = 0; i < SUMS; i++)
        sums[i] = local[i];
}

static void reads(const vector *memory, vector *sum)
{
    vector local[READS] = {{0}};
    const size_t count = MEMORY_BYTES / sizeof(vector);
    for (size_t i = 0; i < count; i += READS) {
#pragma clang loop unroll(full)
        for (int k = 0; k < READS; k++)
            local[k] += memory[i + (size_t)k];
    }
    for (int k = 0; k < READS; k++)
        *sum += local[k];
}

/* After a turn of all threads: the work of each over the time from the first start to the last end. */
static void count_turn(const worker *self, double work_of_each, double *best)
{
    pthread_barrier_wait(&barrier);
    if (self == workers) {
        double start = workers[0].start, end = workers[0].end;
        for (int i = 1; i < threads; i++) {
            start = workers[i].start < start ? workers[i].start : start;
            end = workers[i].end > end ? workers[i].end : end;
        }
        const double rate = threads * work_of_each / (end - start);
        *best = rate > *best ? rate : *best;
    }
    pthread_barrier_wait(&barrier);
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
        self->start = seconds();
        multiply_adds(sums, memory[0] + 0.5f, memory[1]);
        self->end = seconds();
        count_turn(self, 2.0 * LANES * SUMS * STEPS, &best_flops);
    }
    for (int turn = 0; turn < TURNS; turn++) {
        self->start = seconds();
        reads(memory, sums);
        self->end = seconds();
        count_turn(self, MEMORY_BYTES, &best_bytes);
    }
    volatile float sink = 0; /* what is not used need not be computed */
    for (int i = 0; i < SUMS; i++)
        sink += sums[i][0];
    return NULL;
}

int main(int argc, char **argv)
{
    threads = argc == 2 ? atoi(argv[1]) : 0;
    if (threads < 1 || threads > MAX_THREADS)
        return 2;
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
    for (int i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        free(workers[i].memory);
    }
    printf("{\"flops\": %.6g, \"bytes\": %.6g}\n", best_flops, best_bytes);
    return 0;
}
