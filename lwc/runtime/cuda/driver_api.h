/* The part of NVIDIA's driver API (CUDA Driver API, cuda.h of release 12) that the runtime uses. It is declared here
 * and found when it is needed: the library is built, and loaded, where there is no driver. */
#ifndef LWC_CUDA_DRIVER_API_H
#define LWC_CUDA_DRIVER_API_H

#include <stddef.h>

typedef int cu_result;
typedef int cu_device;
typedef struct CUctx_st *cu_context;
typedef struct CUmod_st *cu_module;
typedef struct CUfunc_st *cu_function;
typedef struct CUstream_st *cu_stream;
typedef struct CUevent_st *cu_event;
typedef struct CUgraph_st *cu_graph;
typedef struct CUgraphExec_st *cu_graph_exec;
typedef unsigned long long cu_pointer; /* an address in the GPU's memory */

enum { CU_SUCCESS = 0, CU_OUT_OF_MEMORY = 2, CU_NO_DEVICE = 100, CU_NO_BINARY_FOR_GPU = 209 };
enum { CU_CAPABILITY_MAJOR = 75, CU_CAPABILITY_MINOR = 76 }; /* of cuDeviceGetAttribute */
enum { CU_STREAM_NON_BLOCKING = 1, CU_CAPTURE_THREAD_LOCAL = 1, CU_EVENT_TIMED = 0, CU_EVENT_UNTIMED = 2 };

/* The names are those of the symbols: "_v2" is what cuda.h calls without it. */
#define LWC_DRIVER_FUNCTIONS(F)                                                                                        \
    F(cuInit, (unsigned flags))                                                                                        \
    F(cuDriverGetVersion, (int *version))                                                                              \
    F(cuGetErrorName, (cu_result error, const char **name))                                                            \
    F(cuGetErrorString, (cu_result error, const char **text))                                                          \
    F(cuDeviceGetCount, (int *count))                                                                                  \
    F(cuDeviceGet, (cu_device *device, int ordinal))                                                                   \
    F(cuDeviceGetAttribute, (int *value, int attribute, cu_device device))                                             \
    F(cuDevicePrimaryCtxRetain, (cu_context *context, cu_device device))                                               \
    F(cuDevicePrimaryCtxRelease_v2, (cu_device device))                                                                \
    F(cuCtxPushCurrent_v2, (cu_context context))                                                                       \
    F(cuCtxPopCurrent_v2, (cu_context *context))                                                                       \
    F(cuModuleLoadData, (cu_module *module, const void *image))                                                        \
    F(cuModuleUnload, (cu_module module))                                                                              \
    F(cuModuleGetFunction, (cu_function *function, cu_module module, const char *name))                                \
    F(cuMemAlloc_v2, (cu_pointer *pointer, size_t bytes))                                                              \
    F(cuMemFree_v2, (cu_pointer pointer))                                                                              \
    F(cuMemcpyHtoDAsync_v2, (cu_pointer to, const void *from, size_t bytes, cu_stream stream))                         \
    F(cuMemcpyDtoHAsync_v2, (void *to, cu_pointer from, size_t bytes, cu_stream stream))                               \
    F(cuMemcpyDtoDAsync_v2, (cu_pointer to, cu_pointer from, size_t bytes, cu_stream stream))                          \
    F(cuStreamCreate, (cu_stream *stream, unsigned flags))                                                             \
    F(cuStreamDestroy_v2, (cu_stream stream))                                                                          \
    F(cuStreamSynchronize, (cu_stream stream))                                                                         \
    F(cuStreamWaitEvent, (cu_stream stream, cu_event event, unsigned flags))                                           \
    F(cuStreamBeginCapture_v2, (cu_stream stream, int mode))                                                           \
    F(cuStreamEndCapture, (cu_stream stream, cu_graph *graph))                                                         \
    F(cuGraphInstantiateWithFlags, (cu_graph_exec *exec, cu_graph graph, unsigned long long flags))                    \
    F(cuGraphLaunch, (cu_graph_exec exec, cu_stream stream))                                                           \
    F(cuGraphDestroy, (cu_graph graph))                                                                                \
    F(cuGraphExecDestroy, (cu_graph_exec exec))                                                                        \
    F(cuLaunchKernel, (cu_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,      \
                       unsigned block_y, unsigned block_z, unsigned shared_bytes, cu_stream stream, void **arguments,  \
                       void **extra))                                                                                  \
    F(cuEventCreate, (cu_event *event, unsigned flags))                                                                \
    F(cuEventRecord, (cu_event event, cu_stream stream))                                                               \
    F(cuEventSynchronize, (cu_event event))                                                                            \
    F(cuEventElapsedTime, (float *milliseconds, cu_event start, cu_event end))                                         \
    F(cuEventDestroy_v2, (cu_event event))

#endif
