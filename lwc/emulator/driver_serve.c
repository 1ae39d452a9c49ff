/* The lock, the log, and the failures that the environment asks for. */
#define _POSIX_C_SOURCE 200809L
#include "driver_internal.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t initialized; /* the process that called cuInit: a child's calls fail */

uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

void write_log(const char *format, ...)
{
    const char *path = getenv("LWC_EMULATOR_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file)
        return;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    fclose(file);
}

cu_result begin_call(call_needs needs)
{
    pthread_mutex_lock(&lock);
    if (needs != NEEDS_NOTHING && initialized != getpid())
        return CU_NOT_INITIALIZED;
    return needs == NEEDS_CONTEXT && !current_context() ? CU_INVALID_CONTEXT : CU_SUCCESS;
}

/* LWC_EMULATOR_FAIL is FUNCTION:CALL=ERROR, with the call counted from 1. */
cu_result planned_failure(const char *function)
{
    static uint64_t calls;
    const char *plan = getenv("LWC_EMULATOR_FAIL");
    const size_t length = strlen(function);
    if (!plan || strncmp(plan, function, length) != 0 || plan[length] != ':')
        return CU_SUCCESS;
    char *end = NULL;
    const uint64_t wanted = strtoull(plan + length + 1, &end, 10);
    if (++calls != wanted || *end != '=')
        return CU_SUCCESS;
    return (cu_result)strtol(end + 1, NULL, 10);
}

cu_result end_call(const char *function, cu_result result)
{
    write_log("%s %d\n", function, result);
    pthread_mutex_unlock(&lock);
    return result;
}

static cu_result initialize(unsigned flags)
{
    if (flags != 0)
        return CU_INVALID_VALUE;
    if (initialized != 0 && initialized != getpid())
        return CU_NOT_INITIALIZED;
    if (setting("LWC_EMULATOR_DEVICES", 1) == 0)
        return CU_NO_DEVICE;
    initialized = getpid();
    return CU_SUCCESS;
}

cu_result cuInit(unsigned flags)
{
    SERVE(NEEDS_NOTHING, initialize(flags));
}

__attribute__((destructor)) static void log_end(void)
{
    if (initialized == getpid())
        log_objects("live");
}
