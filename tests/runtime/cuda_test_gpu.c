/* The driver as a program that uses the library has it beside. */
#include "cuda_test.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

functions gpu;

#define TAKE(name, parameters)                                                                                         \
    do {                                                                                                               \
        void *symbol = dlsym(library, #name);                                                                          \
        EXPECT(symbol);                                                                                                \
        memcpy(&gpu.name, &symbol, sizeof symbol);                                                                     \
    } while (0);

void open_gpu(void)
{
    cu_context context;
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    EXPECT(library);
    LWC_DRIVER_FUNCTIONS(TAKE)
    EXPECT(gpu.cuInit(0) == 0 && gpu.cuDevicePrimaryCtxRetain(&context, 0) == 0);
    EXPECT(gpu.cuCtxPushCurrent_v2(context) == 0);
}

void close_gpu(void)
{
    EXPECT(gpu.cuCtxPopCurrent_v2(NULL) == 0 && gpu.cuDevicePrimaryCtxRelease_v2(0) == 0);
}

void fill(float *x, uint8_t *m, int start)
{
    for (int i = 0; i < N; i++) {
        x[i] = (float)(start + i) / 8;
        m[i] = (uint8_t)(3 * i + start);
    }
}

void expect_results(const float *x, const uint8_t *m, const float *z, const uint8_t *w)
{
    for (int i = 0; i < N; i++) {
        EXPECT(z[i] == -2 * (x[i] + (float)(i % 7)));
        EXPECT(w[i] == (uint8_t)(m[i] + 1));
    }
}

void *on_gpu(const void *host, size_t bytes)
{
    cu_pointer device = 0;
    EXPECT(gpu.cuMemAlloc_v2(&device, bytes) == 0);
    if (host)
        EXPECT(gpu.cuMemcpyHtoDAsync_v2(device, host, bytes, NULL) == 0 && gpu.cuStreamSynchronize(NULL) == 0);
    return (void *)(uintptr_t)device;
}

void read_gpu(void *host, const void *device, size_t bytes)
{
    EXPECT(gpu.cuMemcpyDtoHAsync_v2(host, (cu_pointer)(uintptr_t)device, bytes, NULL) == 0);
    EXPECT(gpu.cuStreamSynchronize(NULL) == 0);
}

void free_gpu(void *device)
{
    EXPECT(gpu.cuMemFree_v2((cu_pointer)(uintptr_t)device) == 0);
}
