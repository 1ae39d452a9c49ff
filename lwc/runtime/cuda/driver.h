/* NVIDIA's driver, as it is found on this machine, and its errors as lwc's. */
#ifndef LWC_CUDA_DRIVER_H
#define LWC_CUDA_DRIVER_H

#include "context.h"
#include "cuda/driver_api.h"

#define LWC_DRIVER_MEMBER(name, parameters) cu_result(*name) parameters;
typedef struct {
    LWC_DRIVER_FUNCTIONS(LWC_DRIVER_MEMBER)
} lwc_driver;

/* Finds the driver of this machine; LWC_ERROR_DEVICE where there is none, or one too old to have each function. */
lwc_status lwc_driver_find(lwc_driver *driver);

/* LWC_OK where `result` is; else sets the error: `function`, the driver's name and text of the result.
 * LWC_ERROR_MEMORY where the GPU's memory is out, LWC_ERROR_DEVICE for all else. */
lwc_status lwc_driver_status(const lwc_driver *driver, cu_result result, const char *function);

/* Calls a function of the driver, and is the lwc_status of that. */
#define LWC_CALL(driver, function, ...) lwc_driver_status(driver, (driver)->function(__VA_ARGS__), #function)

/* Calls it whatever `status` is, and sets `status` where it was LWC_OK: what failed first is what the user is told. */
#define LWC_CALL_ANYWAY(status, driver, function, ...)                                                                 \
    do {                                                                                                               \
        const cu_result anyway = (driver)->function(__VA_ARGS__);                                                      \
        if ((status) == LWC_OK)                                                                                        \
            (status) = lwc_driver_status(driver, anyway, #function);                                                   \
    } while (0)

#endif
