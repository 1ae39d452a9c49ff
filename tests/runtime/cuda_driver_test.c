/* What the stand-in for the driver refuses, as the driver does; exits with 1 where it does not. */
#include "cuda/driver_api.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define DECLARE(name, parameters) cu_result name parameters;
LWC_DRIVER_FUNCTIONS(DECLARE)

/* CUresult of cuda.h. */
enum { INVALID_VALUE = 1, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201 };
enum { INVALID_HANDLE = 400, ILLEGAL_STATE = 401, NOT_FOUND = 500, NOT_READY = 600, OUT_OF_RESOURCES = 701 };
enum { LAUNCH_FAILED = 719, CAPTURE_UNSUPPORTED = 900 };

#define EXPECT(call, expected)                                                                                         \
    do {                                                                                                               \
        const cu_result got = (call);                                                                                  \
        if (got != (expected)) {                                                                                       \
            fprintf(stderr, "%s:%d: %s is %d\n", __FILE__, __LINE__, #call, got);                                      \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static const char ptx[] = ".version 9.0\n.target sm_80\n", later[] = ".version 9.0\n.target sm_90\n";

static void contexts(void)
{
    cu_context context;
    cu_device device;
    cu_pointer pointer;
    int count;
    EXPECT(cuDeviceGetCount(&count), NOT_INITIALIZED);
    EXPECT(cuInit(1), INVALID_VALUE);
    EXPECT(cuInit(0), CU_SUCCESS);
    EXPECT(cuDeviceGet(&device, 1), INVALID_DEVICE);
    EXPECT(cuMemAlloc_v2(&pointer, 1), INVALID_CONTEXT);
    EXPECT(cuCtxPopCurrent_v2(&context), INVALID_CONTEXT);
    EXPECT(cuDevicePrimaryCtxRelease_v2(0), INVALID_CONTEXT);
    EXPECT(cuDevicePrimaryCtxRetain(&context, 0), CU_SUCCESS);
    EXPECT(cuCtxPushCurrent_v2(context), CU_SUCCESS);
}

static void memory(void)
{
    cu_pointer pointer;
    char host[8] = {0};
    EXPECT(cuMemAlloc_v2(&pointer, 0), INVALID_VALUE);
    EXPECT(cuMemAlloc_v2(&pointer, 8), CU_SUCCESS);
    EXPECT(cuMemcpyHtoDAsync_v2(pointer, host, 9, NULL), INVALID_VALUE);
    EXPECT(cuMemcpyHtoDAsync_v2(pointer + 1, host, 8, NULL), INVALID_VALUE);
    EXPECT(cuMemcpyHtoDAsync_v2(pointer - 1, host, 1, NULL), INVALID_VALUE);
    EXPECT(cuMemcpyHtoDAsync_v2(pointer, (void *)(uintptr_t)pointer, 8, NULL), INVALID_VALUE);
    EXPECT(cuMemcpyDtoDAsync_v2(pointer, (cu_pointer)(uintptr_t)host, 8, NULL), INVALID_VALUE);
    EXPECT(cuMemcpyDtoHAsync_v2(host, pointer, 8, (cu_stream)host), INVALID_HANDLE);
    EXPECT(cuMemcpyDtoHAsync_v2(host, pointer, 8, NULL), CU_SUCCESS);
    EXPECT(host[0], 0);
    EXPECT(cuStreamSynchronize(NULL), CU_SUCCESS);
    EXPECT(host[0], (char)0xff);
    EXPECT(cuMemFree_v2(pointer + 1), INVALID_VALUE);
    EXPECT(cuMemFree_v2(pointer), CU_SUCCESS);
    EXPECT(cuMemFree_v2(pointer), INVALID_VALUE);
    EXPECT(cuMemcpyDtoHAsync_v2(host, pointer, 8, NULL), INVALID_VALUE);
}

static cu_result launch(cu_function function, unsigned grid, unsigned block, void **arguments)
{
    return cuLaunchKernel(function, grid, 1, 1, block, 1, 1, 0, NULL, arguments, NULL);
}

static void kernels(void)
{
    cu_module module;
    cu_function function;
    EXPECT(cuModuleLoadData(&module, "no image"), INVALID_IMAGE);
    EXPECT(cuModuleLoadData(&module, later), CU_NO_BINARY_FOR_GPU);
    EXPECT(cuModuleLoadData(&module, ptx), CU_SUCCESS);
    EXPECT(cuModuleGetFunction(&function, module, "nobody"), NOT_FOUND);
    EXPECT(cuModuleGetFunction(&function, module, "negate"), CU_SUCCESS);
    EXPECT(launch(function, 0, 64, NULL), INVALID_VALUE);
    EXPECT(launch(function, 1, 2048, NULL), INVALID_VALUE);
    EXPECT(launch((cu_function)module, 3, 64, NULL), INVALID_HANDLE);
    /* More than the kernel's bounds, and threads that never meet. */
    EXPECT(launch(function, 1, 128, NULL), CU_SUCCESS);
    EXPECT(cuStreamSynchronize(NULL), OUT_OF_RESOURCES);
    EXPECT(launch(function, 1, 64, NULL), CU_SUCCESS);
    EXPECT(cuStreamSynchronize(NULL), LAUNCH_FAILED);
    EXPECT(cuModuleUnload(module), CU_SUCCESS);
    EXPECT(cuModuleUnload(module), INVALID_HANDLE);
    EXPECT(launch(function, 3, 64, NULL), INVALID_HANDLE);
}

static void streams(void)
{
    cu_stream stream;
    cu_event start, end;
    cu_graph graph;
    cu_graph_exec exec;
    float milliseconds;
    EXPECT(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CU_SUCCESS);
    EXPECT(cuEventCreate(&start, CU_EVENT_TIMED), CU_SUCCESS);
    EXPECT(cuEventCreate(&end, CU_EVENT_TIMED), CU_SUCCESS);
    EXPECT(cuEventElapsedTime(&milliseconds, start, end), INVALID_HANDLE);
    EXPECT(cuEventRecord(start, stream), CU_SUCCESS);
    EXPECT(cuEventRecord(end, stream), CU_SUCCESS);
    EXPECT(cuEventElapsedTime(&milliseconds, start, end), NOT_READY);
    EXPECT(cuEventSynchronize(end), CU_SUCCESS);
    EXPECT(cuEventElapsedTime(&milliseconds, start, end), CU_SUCCESS);
    EXPECT(cuStreamBeginCapture_v2(NULL, CU_CAPTURE_THREAD_LOCAL), CAPTURE_UNSUPPORTED);
    EXPECT(cuStreamEndCapture(stream, &graph), ILLEGAL_STATE);
    EXPECT(cuStreamBeginCapture_v2(stream, CU_CAPTURE_THREAD_LOCAL), CU_SUCCESS);
    EXPECT(cuStreamBeginCapture_v2(stream, CU_CAPTURE_THREAD_LOCAL), ILLEGAL_STATE);
    EXPECT(cuStreamSynchronize(stream), CAPTURE_UNSUPPORTED);
    EXPECT(cuStreamEndCapture(stream, &graph), CU_SUCCESS);
    EXPECT(cuGraphInstantiateWithFlags(&exec, graph, 0), CU_SUCCESS);
    EXPECT(cuGraphLaunch((cu_graph_exec)graph, stream), INVALID_HANDLE);
    EXPECT(cuGraphDestroy(graph), CU_SUCCESS);
    EXPECT(cuGraphDestroy(graph), INVALID_HANDLE);
    EXPECT(cuGraphLaunch(exec, stream), CU_SUCCESS);
    EXPECT(cuGraphExecDestroy(exec), CU_SUCCESS);
    EXPECT(cuGraphLaunch(exec, stream), INVALID_HANDLE);
    EXPECT(cuStreamDestroy_v2(stream), CU_SUCCESS);
    EXPECT(cuStreamDestroy_v2(stream), INVALID_HANDLE);
    EXPECT(cuEventDestroy_v2(start), CU_SUCCESS);
}

int main(void)
{
    contexts();
    memory();
    kernels();
    streams();
    /* An event is left. */
    return 0;
}
