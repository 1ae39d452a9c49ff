/* What a parallel loop costs beside its work: fork_join THREADS prints nanoseconds, the least of many turns.
 *
 * Each part of the loop waits a while; the loop may at best take as long as its parts one after another, divided by the
 * threads.
 */
#include "lwc_internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { TURNS = 50, LOOPS = 2000, STEPS = 300 };

extern int (*__TVMBackendParallelLaunch)(tvm_task *, void *, int);
const lwc_program lwc_the_program;

static int wait_a_while(int task, tvm_parallel_group *group, void *closure)
{
    (void)task, (void)group, (void)closure;
    volatile float x = 1;
    for (int i = 0; i < STEPS; i++)
        x = x * 0.5f;
    return 0;
}

static double least(lwc_pool *pool)
{
    double best = 1e9;
    lwc_pool_enter(pool);
    for (int turn = 0; turn < TURNS; turn++) {
        const uint64_t start = lwc_nanoseconds();
        for (int i = 0; i < LOOPS; i++)
            lwc_pool_run(pool, wait_a_while, NULL);
        const double each = (double)(lwc_nanoseconds() - start) / LOOPS;
        best = each < best ? each : best;
    }
    lwc_pool_leave();
    return best;
}

static int count_parts(int task, tvm_parallel_group *group, void *closure)
{
    (void)task;
    atomic_store((_Atomic int *)closure, group->tasks);
    return 0;
}

int main(int argc, char **argv)
{
    const uint32_t threads = argc > 1 ? (uint32_t)atoi(argv[1]) : 2;
    lwc_pool *pool = lwc_pool_create(threads, 0), *alone = lwc_pool_create(1, 0);
    if (!pool || !alone)
        return 1;
    _Atomic int parts = 1;
    lwc_pool_run(pool, count_parts, &parts);
    const double work = least(alone) * parts / threads, loop = least(pool);
    printf("%.0f\n", loop - work);
    lwc_pool_destroy(alone);
    lwc_pool_destroy(pool);
    return 0;
}
