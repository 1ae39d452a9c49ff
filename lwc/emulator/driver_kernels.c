/* Modules, whose kernels are those of the library LWC_EMULATED_KERNELS, and launches.
 *
 * The image is only looked at to see whether a GPU of this capability would take it: the library was compiled from the
 * same source. */
#include "driver_internal.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Limits of a launch (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"). */
enum { MAX_BLOCK = 1024, MAX_BLOCK_Z = 64, MAX_GRID_YZ = 65535, ELF_OF_CUDA = 190 };

typedef int emulate(const char *kernel, const unsigned grid[3], const unsigned block[3], void **arguments);
typedef int emulates(const char *kernel);

typedef struct {
    object base;
    void *library;
    emulate *run;
    emulates *has;
} module;

struct CUfunc_st {
    object base;
    const module *from;
    char name[];
};

/* A cubin's flags hold its architecture, since CUDA 13 in the second byte, before in the first. */
static uint64_t architecture_of(const Elf64_Ehdr *header)
{
    const bool recent = header->e_ident[EI_ABIVERSION] >= 8;
    return (header->e_flags >> (recent ? 8 : 0)) & 0xff;
}

static cu_result check_image(const char *image)
{
    const uint64_t capability = setting("LWC_EMULATOR_CAPABILITY", 80);
    if (!image)
        return CU_INVALID_VALUE;
    if (memcmp(image, ELFMAG, SELFMAG) == 0) {
        Elf64_Ehdr header;
        memcpy(&header, image, sizeof header);
        const uint64_t architecture = architecture_of(&header);
        const bool fits = architecture / 10 == capability / 10 && architecture <= capability;
        return header.e_machine == ELF_OF_CUDA && fits ? CU_SUCCESS : CU_NO_BINARY_FOR_GPU;
    }
    const char *target = strstr(image, ".target sm_");
    if (!target || !strstr(image, ".version "))
        return CU_INVALID_IMAGE;
    const uint64_t architecture = strtoull(target + strlen(".target sm_"), NULL, 10);
    return architecture <= capability ? CU_SUCCESS : CU_NO_BINARY_FOR_GPU;
}

static bool take_symbol(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static cu_result load(cu_module *handle, const void *image)
{
    const cu_result checked = check_image(image);
    if (checked)
        return checked;
    const char *path = getenv("LWC_EMULATED_KERNELS");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library) {
        write_log("LWC_EMULATED_KERNELS: %s\n", path ? dlerror() : "is not set");
        return CU_FILE_NOT_FOUND;
    }
    module *made = create_object(MODULE, sizeof *made, current_context());
    if (!made || !take_symbol(library, "lwc_emulate", &made->run) ||
        !take_symbol(library, "lwc_emulates", &made->has)) {
        destroy_object(made);
        dlclose(library);
        return CU_INVALID_IMAGE;
    }
    made->library = library;
    *handle = (cu_module)made;
    return CU_SUCCESS;
}

void destroy_module(void *pointer)
{
    module *self = pointer;
    for (void *each = first_object(FUNCTION, self); each; each = first_object(FUNCTION, self))
        destroy_object(each);
    dlclose(self->library);
    destroy_object(self);
}

static cu_result unload(cu_module handle)
{
    if (!is_live(MODULE, handle))
        return CU_INVALID_HANDLE;
    drain_streams();
    destroy_module(handle);
    return CU_SUCCESS;
}

static cu_result find_function(cu_function *handle, const module *from, const char *name)
{
    if (!is_live(MODULE, from))
        return CU_INVALID_HANDLE;
    if (from->has(name) != 1)
        return CU_NOT_FOUND;
    struct CUfunc_st *made = create_object(FUNCTION, sizeof *made + strlen(name) + 1, from);
    if (!made)
        return CU_OUT_OF_MEMORY;
    made->from = from;
    strcpy(made->name, name);
    *handle = made;
    return CU_SUCCESS;
}

static bool launches(const unsigned grid[3], const unsigned block[3])
{
    for (int i = 0; i < 3; i++) {
        if (grid[i] == 0 || block[i] == 0 || block[i] > MAX_BLOCK || (i > 0 && grid[i] > MAX_GRID_YZ))
            return false;
    }
    return grid[0] <= INT32_MAX && block[2] <= MAX_BLOCK_Z && (uint64_t)block[0] * block[1] * block[2] <= MAX_BLOCK;
}

static cu_result queue_launch(work item, bool plain, cu_stream stream)
{
    if (!is_live(FUNCTION, item.function))
        return CU_INVALID_HANDLE;
    if (!plain || !launches(item.grid, item.block))
        return CU_INVALID_VALUE;
    return queue_work(stream, item);
}

cu_result launch_now(const work *item)
{
    static const cu_result results[] = {CU_SUCCESS, CU_NOT_FOUND, CU_LAUNCH_OUT_OF_RESOURCES, CU_LAUNCH_FAILED};
    const struct CUfunc_st *function = item->function;
    const int result = function->from->run(function->name, item->grid, item->block, item->arguments);
    write_log("kernel %s %d\n", function->name, result);
    return result >= 0 && result <= 3 ? results[result] : CU_LAUNCH_FAILED;
}

cu_result cuModuleLoadData(cu_module *handle, const void *image)
{
    SERVE(NEEDS_CONTEXT, load(handle, image));
}

cu_result cuModuleUnload(cu_module handle)
{
    SERVE_ANYWAY(NEEDS_CONTEXT, unload(handle));
}

cu_result cuModuleGetFunction(cu_function *handle, cu_module from, const char *name)
{
    SERVE(NEEDS_CONTEXT, find_function(handle, (module *)from, name));
}

cu_result cuLaunchKernel(cu_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                         unsigned block_y, unsigned block_z, unsigned shared_bytes, cu_stream stream, void **arguments,
                         void **extra)
{
    const work item = {.kind = LAUNCH,
                       .function = function,
                       .grid = {grid_x, grid_y, grid_z},
                       .block = {block_x, block_y, block_z},
                       .arguments = arguments};
    SERVE(NEEDS_CONTEXT, queue_launch(item, shared_bytes == 0 && !extra, stream));
}
