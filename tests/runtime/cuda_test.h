/* What the C programs of test_cuda_host.py share: the driver for their own memory and streams, and right results. */
#ifndef CUDA_TEST_H
#define CUDA_TEST_H

#include "affine.h"
#include "cuda/driver_api.h"

enum { N = 192 };

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, affine_last_error());     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define MEMBER(name, parameters) cu_result(*name) parameters;
typedef struct {
    LWC_DRIVER_FUNCTIONS(MEMBER)
} functions;
extern functions gpu;

/* Finds the driver, and makes the primary context current in this thread. */
void open_gpu(void);
void close_gpu(void);

/* Values for both inputs, and whether the outputs are those of them. */
void fill(float *x, uint8_t *m, int start);
void expect_results(const float *x, const uint8_t *m, const float *z, const uint8_t *w);

/* The GPU's memory with a copy of `host`, or without where that is NULL. */
void *on_gpu(const void *host, size_t bytes);
void read_gpu(void *host, const void *device, size_t bytes);
void free_gpu(void *device);

#endif
