/* The threads of a block, as fibers that take turns where they wait for each other.
 *
 * A fiber runs until it waits or ends. When all have, those go on whose partners wait at the same line; where none
 * can, the block is stuck. C++17 without its library.
 */
#pragma once
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
    bool backward;
    void *scheduler;
    fiber *current;
    fiber fibers[MOST_THREADS];
    char *stacks;
};

block running;

#if defined(__x86_64__)
/* Keeps what a call must keep on the stack, stores its pointer in *from, and goes on where `to` was left. */
extern "C" void lwc_switch(void **from, void *to);
asm(".text\n.globl lwc_switch\n.hidden lwc_switch\n.type lwc_switch, @function\nlwc_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
    ".size lwc_switch, .-lwc_switch\n");

/* A stack from which lwc_switch "returns" to `entry`. */
static void *new_stack(char *top, void (*entry)())
{
    void **words = (void **)top - 2;
    words[0] = (void *)entry;
    return memset(words - 6, 0, 6 * sizeof(void *));
}
#elif defined(__aarch64__)
extern "C" void lwc_switch(void **from, void *to);
asm(".text\n.globl lwc_switch\n.hidden lwc_switch\n.type lwc_switch, %function\nlwc_switch:\n"
    "sub sp, sp, #160\nstp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\n"
    "stp x25, x26, [sp, #48]\nstp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\n"
    "stp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\nstp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\n"
    "mov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
    "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\n"
    "ldp x25, x26, [sp, #48]\nldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\n"
    "ldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\nldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\n"
    "add sp, sp, #160\nret\n.size lwc_switch, .-lwc_switch\n");

static void *new_stack(char *top, void (*entry)())
{
    void **words = (void **)memset(top - 160, 0, 160);
    words[11] = (void *)entry;
    return words;
}
#else
#error "fibers are written for x86-64 and 64-bit ARM"
#endif

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

/* Waits for the lanes of `lanes` that come to this line; gives those that came. */
static inline unsigned meet(int line, unsigned lanes)
{
    leave(FOR_WARP, line, lanes);
    return running.current->lanes;
}

/* The value of the lane `source` among those in `lanes`; the own one where that is not among them. */
template <class T> static T exchange(int line, unsigned lanes, T value, unsigned source)
{
    fiber *self = running.current;
    unsigned turn = self->turn++ & 1;
    memcpy(&self->exchanged[turn], &value, sizeof(T));
    meet(line, lanes);
    fiber *first = running.fibers + (self - running.fibers) / WARP * WARP;
    if (lanes >> source & 1)
        memcpy(&value, &first[source].exchanged[turn], sizeof(T));
    return value;
}

static inline unsigned lane()
{
    return (unsigned)(running.current - running.fibers) % WARP;
}

template <class T> static T shuffle_down(int line, unsigned lanes, T value, unsigned delta, unsigned width = WARP)
{
    unsigned own = lane(), source = own + delta;
    return exchange(line, lanes, value, own % width + delta < width ? source : own);
}

template <class T> static T shuffle_up(int line, unsigned lanes, T value, unsigned delta, unsigned width = WARP)
{
    unsigned own = lane();
    return exchange(line, lanes, value, own % width >= delta ? own - delta : own);
}

template <class T> static T shuffle_xor(int line, unsigned lanes, T value, unsigned mask, unsigned width = WARP)
{
    unsigned own = lane(), source = own ^ mask;
    return exchange(line, lanes, value, source / width == own / width ? source : own);
}

template <class T> static T shuffle(int line, unsigned lanes, T value, unsigned source, unsigned width = WARP)
{
    return exchange(line, lanes, value, lane() / width * width + source % width);
}

} // namespace lwc

#define __syncthreads() lwc::leave(lwc::FOR_BLOCK, __LINE__, 0)
#define __syncwarp(...) lwc::meet(__LINE__, __activemask())
#define __activemask() lwc::meet(__LINE__, 0)
#define __shfl_sync(...) lwc::shuffle(__LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) lwc::shuffle_up(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) lwc::shuffle_down(__LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) lwc::shuffle_xor(__LINE__, __VA_ARGS__)
