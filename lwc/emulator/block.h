/* The threads of a block, as fibers that take turns where they wait for each other.
 *
 * A fiber runs until it waits or ends. When all have, those go on whose partners wait at the same line; where none
 * can, the block is stuck. C++17 without its library.
 */
#pragma once
#include "fiber_switch.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
};

/* Not static: what waits in the middle of a kernel must read them again. */
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace lwc {

enum { WARP = 32, MOST_THREADS = 1024, STACK_BYTES = 64 * 1024 };
enum waits { RUNS, FOR_BLOCK, FOR_WARP, ENDED };

struct fiber {
    void *stack_pointer;
    uint3 index;
    waits state;
    int line;       /* of the source, where it waits */
    unsigned lanes; /* whom it waits for in its warp; 0: whoever comes; then, who came */
    unsigned turn;  /* counts what it exchanged */
    uint64_t exchanged[2];
};

struct block {
    void (*kernel)(void **arguments);
    void **arguments;
    unsigned threads;
    void *scheduler;
    fiber *current;
    fiber fibers[MOST_THREADS];
    char *stacks;
};

block running;

/* Back to the scheduler, until the fiber's turn comes again. */
static void leave(waits state, int line, unsigned lanes)
{
    fiber *self = running.current;
    self->state = state;
    self->line = line;
    self->lanes = lanes;
    lwc_switch(&self->stack_pointer, running.scheduler);
}

static void enter()
{
    running.kernel(running.arguments);
    leave(ENDED, 0, 0);
}

static void go_on(unsigned thread)
{
    fiber *next = &running.fibers[thread];
    running.current = next;
    threadIdx = next->index;
    lwc_switch(&running.scheduler, next->stack_pointer);
}

/* Those of a warp who wait at the same line as its first waiting lane go on, where nobody is missed. */
static bool release_warp(fiber *lanes, unsigned count)
{
    bool released = false;
    for (unsigned i = 0; i < count; i++) {
        if (lanes[i].state != FOR_WARP)
            continue;
        unsigned here = 0;
        for (unsigned j = 0; j < count; j++)
            if (lanes[j].state == FOR_WARP && lanes[j].line == lanes[i].line && lanes[j].lanes == lanes[i].lanes)
                here |= 1u << j;
        if (lanes[i].lanes != 0 && lanes[i].lanes != here)
            continue;
        for (unsigned j = 0; j < count; j++)
            if (here >> j & 1) {
                lanes[j].lanes = here;
                lanes[j].state = RUNS;
            }
        released = true;
    }
    return released;
}

static bool release_block()
{
    for (unsigned i = 0; i < running.threads; i++)
        if (running.fibers[i].state != FOR_BLOCK || running.fibers[i].line != running.fibers[0].line)
            return false;
    for (unsigned i = 0; i < running.threads; i++)
        running.fibers[i].state = RUNS;
    return true;
}

/* Whether some fiber may go on; `all` says whether every one has ended. */
static bool release(bool *all)
{
    *all = true;
    for (unsigned i = 0; i < running.threads; i++)
        *all = *all && running.fibers[i].state == ENDED;
    bool released = false;
    for (unsigned i = 0; i < running.threads; i += WARP) {
        unsigned left = running.threads - i;
        released = release_warp(&running.fibers[i], left < WARP ? left : WARP) || released;
    }
    return released || release_block();
}

static void start_fibers(char *stacks)
{
    for (unsigned i = 0; i < running.threads; i++) {
        fiber *self = &running.fibers[i];
        unsigned row = i / blockDim.x;
        self->index = {i % blockDim.x, row % blockDim.y, row / blockDim.y};
        self->state = RUNS;
        self->turn = 0;
        self->stack_pointer = new_stack(stacks + (size_t)(i + 1) * STACK_BYTES, enter);
    }
}

/* Runs a block whose threads wait for each other; false where they wait for ever. */
static bool run_fibers(void (*kernel)(void **), void **arguments, unsigned threads, bool backward)
{
    if (running.stacks == nullptr)
        running.stacks = (char *)aligned_alloc(64, (size_t)MOST_THREADS * STACK_BYTES);
    if (running.stacks == nullptr)
        abort();
    running.kernel = kernel;
    running.arguments = arguments;
    running.threads = threads;
    start_fibers(running.stacks);
    bool all = false;
    do {
        for (unsigned i = 0; i < threads; i++) {
            unsigned thread = backward ? threads - 1 - i : i;
            if (running.fibers[thread].state == RUNS)
                go_on(thread);
        }
    } while (release(&all));
    return all;
}

} // namespace lwc

#define __syncthreads() lwc::leave(lwc::FOR_BLOCK, __LINE__, 0)
