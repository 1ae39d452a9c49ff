/* What this machine can do at most: multiply-adds of float32 and of 8-bit integers, and reading from memory, with all
 * threads at once.
 *
 * peak THREADS prints {"flops": float32 operations a second, "int8_ops": those of 8-bit integers, "bytes": bytes a
 * second}. All threads take each turn together, and the best of many turns counts: what else the machine does only
 * takes away.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define ANY_REGISTER "+x"
#else
#include <arm_neon.h>
#define ANY_REGISTER "+w"
#endif

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, SUMS = 24 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32, SUMS = 12 };
#else
enum { VECTOR_BYTES = 16, SUMS = 24 };
#endif
enum { LANES = VECTOR_BYTES / 4, TURNS = 100, STEPS = 300000, MEMORY_BYTES = 64 << 20, READS = 8, MAX_THREADS = 256 };

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));

/* DOT(y, x, w): y plus PRODUCTS products of integers in x and w, in sums of 32 bits; as lwc's kernels multiply. */
#if defined(__AVX512VNNI__)
typedef __m512i words;
enum { PRODUCTS = 64 };
#define DOT(y, x, w) _mm512_dpbusd_epi32(y, x, w)
#elif defined(__AVX512BW__)
typedef __m512i words;
enum { PRODUCTS = 32 };
#define DOT(y, x, w) _mm512_add_epi32(y, _mm512_madd_epi16(x, w))
#elif defined(__x86_64__)
typedef __m256i words;
enum { PRODUCTS = 16 };
#define DOT(y, x, w) _mm256_add_epi32(y, _mm256_madd_epi16(x, w))
#elif defined(__ARM_FEATURE_DOTPROD)
typedef int32x4_t words;
enum { PRODUCTS = 16 };
#define DOT(y, x, w) vdotq_s32(y, vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(w))
#else
typedef int32x4_t words;
enum { PRODUCTS = 8 };
#define BYTES(x) vget_low_s8(vreinterpretq_s8_s32(x))
#define DOT(y, x, w) vpadalq_s16(y, vmull_s8(BYTES(x), BYTES(w)))
#endif

typedef struct {
    vector *memory;
    double start, end; /* of the last turn */
    pthread_t thread;
} worker;

static worker workers[MAX_THREADS];
static int threads;
static double best_flops, best_int8_ops, best_bytes;
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

static void dot_products(words *sums, words x, words w)
{
    words local[SUMS];
    for (int i = 0; i < SUMS; i++)
        local[i] = sums[i];
    for (int step = 0; step < STEPS; step++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < SUMS; i++) {
            __asm__ volatile("" : ANY_REGISTER(x)); /* or a product could be computed once for all */
            local[i] = DOT(local[i], x, w);
        }
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
    words word, word_sums[SUMS];
    memcpy(&word, memory, sizeof word);
    for (int i = 0; i < SUMS; i++)
        word_sums[i] = word;
    for (int turn = 0; turn < TURNS; turn++) {
        self->start = seconds();
        dot_products(word_sums, word, word);
        self->end = seconds();
        count_turn(self, 2.0 * PRODUCTS * SUMS * STEPS, &best_int8_ops);
    }
    for (int turn = 0; turn < TURNS; turn++) {
        self->start = seconds();
        reads(memory, sums);
        self->end = seconds();
        count_turn(self, MEMORY_BYTES, &best_bytes);
    }
    volatile float sink = 0; /* what is not used need not be computed */
    volatile int integer_sink = 0;
    for (int i = 0; i < SUMS; i++) {
        int first;
        memcpy(&first, &word_sums[i], sizeof first);
        sink += sums[i][0];
        integer_sink ^= first;
    }
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
    printf("{\"flops\": %.6g, \"int8_ops\": %.6g, \"bytes\": %.6g}\n", best_flops, best_int8_ops, best_bytes);
    return 0;
}
