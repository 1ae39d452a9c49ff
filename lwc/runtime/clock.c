/* Time that only goes forward. */
#define _POSIX_C_SOURCE 200809L
#include "lwc_internal.h"

#include <time.h>

uint64_t lwc_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
