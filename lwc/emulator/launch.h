/* Launches: what a library of emulated kernels exports, over its table of kernels. */
#pragma once
#include "kernels.h"

#include <pthread.h>

#define LWC_EXPORTED extern "C" __attribute__((visibility("default")))

namespace lwc {

struct entry {
    const char *name;
    unsigned most_threads;            /* in a block */
    void (*thread)(void **arguments); /* one thread of a kernel with barriers, or null */
    void (*threads)(void **arguments); /* all threads of one without, or null */
    char *shared, *shared_end;
};

enum status { RAN, UNKNOWN, TOO_LARGE, STUCK };

static bool run_block(const entry &kernel, void **arguments, unsigned threads, bool backward)
{
    /* All ones are NaN as float32: what no thread has written must not look like a number. */
    if (kernel.shared != nullptr)
        memset(kernel.shared, 0xff, (size_t)(kernel.shared_end - kernel.shared));
    if (kernel.thread != nullptr)
        return run_fibers(kernel.thread, arguments, threads, backward);
    kernel.threads(arguments);
    return true;
}

/* Blocks and threads run in their order, or in the opposite one where LWC_EMULATOR_ORDER is "backward". */
static status run_grid(const entry &kernel, const unsigned grid[3], const unsigned block[3], void **arguments)
{
    const unsigned long threads = (unsigned long)block[0] * block[1] * block[2];
    if (threads == 0 || threads > kernel.most_threads || threads > MOST_THREADS)
        return TOO_LARGE;
    const char *order = getenv("LWC_EMULATOR_ORDER");
    const bool backward = order != nullptr && strcmp(order, "backward") == 0;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    const unsigned long blocks = (unsigned long)grid[0] * grid[1] * grid[2];
    for (unsigned long i = 0; i < blocks; i++) {
        const unsigned long index = backward ? blocks - 1 - i : i, row = index / grid[0];
        blockIdx = {(unsigned)(index % grid[0]), (unsigned)(row % grid[1]), (unsigned)(row / grid[1])};
        if (!run_block(kernel, arguments, (unsigned)threads, backward))
            return STUCK;
    }
    return RAN;
}

template <unsigned COUNT> static const entry *find(const entry (&table)[COUNT], const char *name)
{
    for (const entry &kernel : table)
        if (strcmp(kernel.name, name) == 0)
            return &kernel;
    return nullptr;
}

/* One launch at a time, as blocks share what describes them. */
static pthread_mutex_t launching = PTHREAD_MUTEX_INITIALIZER;

} // namespace lwc

#define LWC_ALL_THREADS                                                                                                \
    for (threadIdx.z = 0; threadIdx.z < blockDim.z; threadIdx.z++)                                                     \
        for (threadIdx.y = 0; threadIdx.y < blockDim.y; threadIdx.y++)                                                 \
            for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++)

#define LWC_EXPORTS(table)                                                                                             \
    LWC_EXPORTED int lwc_emulates(const char *kernel) { return lwc::find(table, kernel) != nullptr; }                  \
    LWC_EXPORTED int lwc_emulate(const char *kernel, const unsigned grid[3], const unsigned block[3],                  \
                                 void **arguments)                                                                     \
    {                                                                                                                  \
        const lwc::entry *found = lwc::find(table, kernel);                                                            \
        if (found == nullptr)                                                                                          \
            return lwc::UNKNOWN;                                                                                       \
        pthread_mutex_lock(&lwc::launching);                                                                           \
        const lwc::status status = lwc::run_grid(*found, grid, block, arguments);                                      \
        pthread_mutex_unlock(&lwc::launching);                                                                         \
        return status;                                                                                                 \
    }
