/* The GPU, and what all contexts of a process share on it: the driver's context, the kernels and the weights. */
#ifndef LWC_CUDA_GPU_H
#define LWC_CUDA_GPU_H

#include "cuda/driver.h"

/* A call's kernel and its blocks; its parameters are pointers to `count` operands of the program from `first` on. */
typedef struct {
    const char *kernel;
    uint32_t grid[3], block[3];
    uint32_t first;
} lwc_launch;

/* What program.c has beside lwc_the_program. */
typedef struct {
    uint32_t architecture;       /* compute capability, 80 of 8.0 */
    int toolkit;                 /* of CUDA, as cuDriverGetVersion counts: 1000 major + 10 minor */
    const unsigned char *binary; /* a cubin, for GPUs of this generation */
    const unsigned char *ptx;    /* text that ends with 0, for later ones */
    const lwc_launch *launches;  /* one for each call */
    uint64_t weights_bytes;
} lwc_device_code;

extern const lwc_device_code lwc_the_device_code;

/* gpu.c */
typedef struct {
    lwc_driver driver;
    cu_device device;
    const unsigned char *image; /* what of the code it executes */
    int version;                /* of the driver, counted as `toolkit` */
} lwc_gpu;

/* The first GPU in the order of CUDA_VISIBLE_DEVICES. LWC_ERROR_DEVICE where there is none, or none that the code is
 * for; LWC_ERROR_FORKED in a child of a process that used the GPU. */
lwc_status lwc_gpu_find(lwc_gpu *gpu);

/* resident.c: the functions of the module are in the order of the calls. */
typedef struct {
    lwc_gpu gpu;
    cu_context context;
    cu_module module;
    cu_function *functions;
    cu_pointer weights;
    uint32_t users;
} lwc_resident;

/* What all contexts share: the first one loads it. Where it is LWC_OK, it is to be given back once. */
lwc_status lwc_resident_take(const lwc_program *program, const lwc_resident **resident);
/* The last one frees it. `status` is what went wrong before; it, or else what goes wrong here, is returned. */
lwc_status lwc_resident_give_back(lwc_status status);

/* Makes the GPU's context this thread's, until lwc_gpu_leave. That returns `status`, or what goes wrong in it. */
lwc_status lwc_gpu_enter(const lwc_resident *resident);
/* The same where something is to be freed, whatever `status` is; false where that is not possible. */
bool lwc_gpu_enter_anyway(const lwc_resident *resident, lwc_status *status);
lwc_status lwc_gpu_leave(const lwc_resident *resident, lwc_status status);

/* Memory of the GPU, of at least one byte. LWC_ERROR_MEMORY where so much is not free. */
lwc_status lwc_gpu_allocate(const lwc_driver *driver, size_t bytes, cu_pointer *pointer);

#endif
