/* Finding NVIDIA's driver, and what its errors are called. */
#include "cuda/driver.h"

#include <dlfcn.h>
#include <string.h>

typedef struct {
    const char *name;
    size_t place; /* in lwc_driver */
} entry;

#define ENTRY(name, parameters) {#name, offsetof(lwc_driver, name)},
static const entry entries[] = {LWC_DRIVER_FUNCTIONS(ENTRY)};

lwc_status lwc_driver_find(lwc_driver *driver)
{
    /* Never closed: the driver's own threads and handlers outlive every context. */
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        lwc_set_error("open: no NVIDIA driver (libcuda.so.1) on this machine; install it");
        return LWC_ERROR_DEVICE;
    }
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        void *symbol = dlsym(library, entries[i].name);
        if (!symbol) {
            lwc_set_error("open: the NVIDIA driver has no %s; install a newer driver", entries[i].name);
            return LWC_ERROR_DEVICE;
        }
        /* C has no conversion from an object's address to a function's, but POSIX says that both are alike. */
        memcpy((unsigned char *)driver + entries[i].place, &symbol, sizeof symbol);
    }
    return LWC_OK;
}

lwc_status lwc_driver_status(const lwc_driver *driver, cu_result result, const char *function)
{
    if (result == CU_SUCCESS)
        return LWC_OK;
    const char *name = NULL, *text = NULL;
    if (driver->cuGetErrorName(result, &name) != CU_SUCCESS || !name)
        name = "unknown error";
    if (driver->cuGetErrorString(result, &text) != CU_SUCCESS || !text)
        text = "no description";
    lwc_set_error("the GPU's driver failed: %s: %s (%d): %s", function, name, result, text);
    return result == CU_OUT_OF_MEMORY ? LWC_ERROR_MEMORY : LWC_ERROR_DEVICE;
}
