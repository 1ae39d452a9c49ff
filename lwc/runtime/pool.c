/* Persistent threads that spin a while for the next parallel loop, then sleep.
 *
 * A loop is cut into PARTS parts for each thread. A thread takes its own parts first, so that it finds in its cache
 * what it wrote in the loop before, and then those that another thread has not come to: on a busy machine nobody waits
 * for a thread that has no core.
 */
#define _GNU_SOURCE
#include "lwc_internal.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long an idle thread spins before it sleeps: longer than the time between two kernels, shorter than a frame. */
enum { SPIN_NANOSECONDS = 200000, TURNS = 64, STACK_BYTES = 1 << 20 };
/* Of a loop, for each thread; targets/kernels/tiling.py plans with it. */
enum { PARTS = 8 };
/* Turns of a thread that waits for the others' last parts before it offers its core. */
enum { TURNS_BEFORE_YIELD = 4000 };

typedef struct {
    /* The loop's number in the upper half, the next part to take in the lower. On a cache line of its own. */
    _Alignas(LWC_ALIGNMENT) _Atomic uint64_t ticket;
    _Alignas(LWC_ALIGNMENT) lwc_pool *pool;
    pthread_t thread;
    lwc_workspace workspace;
} worker;

struct lwc_pool {
    uint32_t threads;
    uint32_t started; /* threads that exist, without the caller's */
    uint64_t spin_nanoseconds;
    tvm_task *task;
    void *closure;
    _Atomic uint32_t loop;    /* counts the loops; the threads wait for it to change */
    _Atomic uint32_t pending; /* parts of the current loop that are not done */
    _Atomic uint32_t calls; /* counts the announced runs: sleepers wake for the next loop */
    _Atomic uint32_t sleepers;
    _Atomic int failed;
    _Atomic bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    worker workers[]; /* the first is the caller's */
};

static _Thread_local worker *current;

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

uint32_t lwc_available_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

/* Takes a part of loop number `loop` from `owner`'s; false where none is left, or the loop is over. */
static bool take_part(worker *owner, uint32_t loop, uint32_t *part)
{
    uint64_t ticket = atomic_load(&owner->ticket);
    do {
        *part = (uint32_t)ticket;
        if (ticket >> 32 != loop || *part >= PARTS)
            return false;
    } while (!atomic_compare_exchange_weak(&owner->ticket, &ticket, ticket + 1));
    return true;
}

/* A part that was taken keeps its loop from ending: only then are `task` and `closure` read. */
static void work_on(lwc_pool *pool, uint32_t self, uint32_t loop)
{
    tvm_parallel_group group = {NULL, (int32_t)(pool->threads * PARTS)};
    uint32_t done = 0;
    for (uint32_t i = 0; i < pool->threads; i++) {
        const uint32_t owner = (self + i) % pool->threads;
        for (uint32_t part; take_part(&pool->workers[owner], loop, &part); done++) {
            if (pool->task((int)(owner * PARTS + part), &group, pool->closure) != 0)
                atomic_store(&pool->failed, 1);
        }
    }
    /* Once for all parts: the threads would wait for each other's hold on the counter. */
    if (done > 0)
        atomic_fetch_sub(&pool->pending, done);
}

/* Whether the loop after `seen` came while this thread was spinning. */
static bool spin(lwc_pool *pool, uint32_t seen)
{
    const uint64_t end = lwc_nanoseconds() + pool->spin_nanoseconds;
    while (lwc_nanoseconds() < end) {
        for (uint32_t i = 0; i < TURNS; i++) {
            if (atomic_load(&pool->loop) != seen)
                return true;
            pause_briefly();
        }
    }
    return false;
}

static void sleep_until_called(lwc_pool *pool, uint32_t seen)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    const uint32_t calls = atomic_load(&pool->calls);
    while (atomic_load(&pool->loop) == seen && atomic_load(&pool->calls) == calls && !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

/* The number of the next loop, or the same one where the pool stops. */
static uint32_t wait_for_loop(lwc_pool *pool, uint32_t seen)
{
    while (!spin(pool, seen) && atomic_load(&pool->loop) == seen && !atomic_load(&pool->stop))
        sleep_until_called(pool, seen);
    return atomic_load(&pool->loop);
}

static void *work(void *argument)
{
    worker *self = argument;
    lwc_pool *pool = self->pool;
    current = self;
    for (uint32_t seen = 0;;) {
        const uint32_t loop = wait_for_loop(pool, seen);
        if (loop == seen)
            return NULL;
        seen = loop;
        work_on(pool, (uint32_t)(self - pool->workers), loop);
    }
}

static void wait_for_parts(lwc_pool *pool)
{
    const uint32_t turns = pool->spin_nanoseconds ? TURNS_BEFORE_YIELD : 0;
    for (uint32_t i = 0; atomic_load(&pool->pending) > 0; i++) {
        if (i < turns)
            pause_briefly();
        else
            sched_yield();
    }
}

static void wake_sleepers(lwc_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

int lwc_pool_run(lwc_pool *pool, tvm_task *task, void *closure)
{
    if (pool->threads == 1) {
        tvm_parallel_group group = {NULL, 1};
        return task(0, &group, closure);
    }
    const uint32_t loop = atomic_load(&pool->loop) + 1;
    pool->task = task;
    pool->closure = closure;
    atomic_store(&pool->failed, 0);
    atomic_store(&pool->pending, pool->threads * PARTS);
    for (uint32_t i = 0; i < pool->threads; i++)
        atomic_store(&pool->workers[i].ticket, (uint64_t)loop << 32);
    atomic_store(&pool->loop, loop);
    if (atomic_load(&pool->sleepers) > 0)
        wake_sleepers(pool);
    work_on(pool, 0, loop);
    wait_for_parts(pool);
    return atomic_load(&pool->failed) ? -1 : 0;
}

static bool start(lwc_pool *pool)
{
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    bool ok = pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0;
    while (ok && pool->started + 1 < pool->threads) {
        worker *next = &pool->workers[pool->started + 1];
        next->pool = pool;
        ok = pthread_create(&next->thread, &attributes, work, next) == 0;
        pool->started += ok ? 1 : 0;
    }
    pthread_attr_destroy(&attributes);
    return ok;
}

lwc_pool *lwc_pool_create(uint32_t threads, size_t thread_bytes)
{
    const size_t bytes = sizeof(lwc_pool) + threads * sizeof(worker);
    lwc_pool *pool = lwc_allocate(bytes);
    if (!pool)
        return NULL;
    memset(pool, 0, bytes);
    pool->threads = threads;
    pool->workers[0].pool = pool;
    /* With fewer cores than threads a spinning thread would keep a working one from its core. */
    pool->spin_nanoseconds = threads <= lwc_available_cores() ? SPIN_NANOSECONDS : 0;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    bool ok = true;
    for (uint32_t i = 0; ok && i < threads; i++)
        ok = lwc_workspace_create(&pool->workers[i].workspace, thread_bytes);
    if (ok && start(pool))
        return pool;
    lwc_pool_destroy(pool);
    return NULL;
}

void lwc_pool_destroy(lwc_pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stop, true);
    wake_sleepers(pool);
    for (uint32_t i = 1; i <= pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    for (uint32_t i = 0; i < pool->threads; i++)
        lwc_workspace_free(&pool->workers[i].workspace);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

void lwc_pool_announce(lwc_pool *pool)
{
    /* Threads that do not spin would sleep again before the first loop. */
    if (pool->spin_nanoseconds == 0 || atomic_load(&pool->sleepers) == 0)
        return;
    atomic_fetch_add(&pool->calls, 1);
    wake_sleepers(pool);
}

void lwc_pool_enter(lwc_pool *pool)
{
    current = &pool->workers[0];
}

void lwc_pool_leave(void)
{
    current = NULL;
}

/* What kernels call. */
static int parallel_launch(tvm_task *task, void *closure, int tasks)
{
    (void)tasks; /* always 0: as many as there are threads */
    return lwc_pool_run(current->pool, task, closure);
}

static void *allocate_workspace(int device, int id, uint64_t bytes, int code, int bits)
{
    (void)device, (void)id, (void)code, (void)bits;
    return lwc_workspace_borrow(&current->workspace, (size_t)bytes);
}

static int free_workspace(int device, int id, void *memory)
{
    (void)device, (void)id;
    return lwc_workspace_return(&current->workspace, memory);
}

/* Compiled kernels hold weak definitions of these pointers. */
extern int (*__TVMBackendParallelLaunch)(tvm_task *, void *, int);
extern void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int);
extern int (*__TVMBackendFreeWorkspace)(int, int, void *);
int (*__TVMBackendParallelLaunch)(tvm_task *, void *, int) = parallel_launch;
void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate_workspace;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = free_workspace;
