/* What the parts of the stand-in for NVIDIA's driver share. All of it runs under one lock (driver_serve.c). */
#ifndef LWC_EMULATOR_DRIVER_INTERNAL_H
#define LWC_EMULATOR_DRIVER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The functions are what the library exports; all else is hidden. */
#pragma GCC visibility push(default)
#include "cuda/driver_api.h"
#define DECLARE(name, parameters) cu_result name parameters;
LWC_DRIVER_FUNCTIONS(DECLARE)
#pragma GCC visibility pop

/* CUresult of cuda.h, beside those of cuda/driver_api.h. */
enum {
    CU_INVALID_VALUE = 1,
    CU_NOT_INITIALIZED = 3,
    CU_INVALID_DEVICE = 101,
    CU_INVALID_IMAGE = 200,
    CU_INVALID_CONTEXT = 201,
    CU_FILE_NOT_FOUND = 301,
    CU_INVALID_HANDLE = 400,
    CU_ILLEGAL_STATE = 401,
    CU_NOT_FOUND = 500,
    CU_NOT_READY = 600,
    CU_LAUNCH_OUT_OF_RESOURCES = 701,
    CU_LAUNCH_FAILED = 719,
    CU_CAPTURE_UNSUPPORTED = 900,
};

/* driver_serve.c: what every call goes through. */
typedef enum { NEEDS_NOTHING, NEEDS_INIT, NEEDS_CONTEXT } call_needs;
/* Takes the lock; whether what the call needs is there. */
cu_result begin_call(call_needs needs);
/* The error that LWC_EMULATOR_FAIL wants of this call of `function`. */
cu_result planned_failure(const char *function);
/* Writes the log's line, and gives the lock back. */
cu_result end_call(const char *function, cu_result result);
/* A further line of the log. */
void write_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The number in the environment variable `name`, else `otherwise`. */
uint64_t setting(const char *name, uint64_t otherwise);

/* The body of a function of the driver. */
#define SERVE(needs, action)                                                                                           \
    do {                                                                                                               \
        cu_result result = begin_call(needs);                                                                          \
        if (result == CU_SUCCESS)                                                                                      \
            result = planned_failure(__func__);                                                                        \
        if (result == CU_SUCCESS)                                                                                      \
            result = (action);                                                                                         \
        return end_call(__func__, result);                                                                             \
    } while (0)

/* The same of one that ends something: it does so even where it is to fail, as the driver's own do, which return
 * errors of earlier work. */
#define SERVE_ANYWAY(needs, action)                                                                                    \
    do {                                                                                                               \
        cu_result result = begin_call(needs);                                                                          \
        if (result == CU_SUCCESS)                                                                                      \
            result = (action);                                                                                         \
        const cu_result planned = planned_failure(__func__);                                                           \
        return end_call(__func__, result == CU_SUCCESS ? planned : result);                                            \
    } while (0)

/* driver_objects.c: what lives. */
typedef enum { MODULE, FUNCTION, ALLOCATION, STREAM, EVENT, GRAPH, EXECUTABLE, KINDS } object_kind;
typedef struct object {
    object_kind kind;
    struct object *next;
    const void *owner; /* the context; a function's is its module */
} object;

/* Zeroed, of `bytes` bytes, the first of them an `object`; NULL where memory is out. */
void *create_object(object_kind kind, size_t bytes, const void *owner);
bool is_live(object_kind kind, const void *pointer);
void destroy_object(void *pointer);
/* Any live object of `kind` and, if that is not NULL, `owner`; NULL without. */
void *first_object(object_kind kind, const void *owner);
void *next_object(const void *previous, const void *owner);
/* A line of the log with the number of live objects of each kind after `title`. */
void log_objects(const char *title);

/* driver_memory.c */
void destroy_allocation(void *allocation);

/* driver_stream.c: work in the order in which it was queued. It is done no earlier than somebody waits for it, so that
 * results that nobody waited for are seen to be missing. */
typedef struct stream stream;
typedef struct {
    object base;
    stream *where;             /* of the last record */
    uint64_t recorded, reached; /* how often */
    double milliseconds;
} event;

typedef enum { COPY, LAUNCH, RECORD, WAIT } work_kind;
typedef struct {
    work_kind kind;
    void *to; /* COPY */
    const void *from;
    size_t bytes;
    const struct CUfunc_st *function; /* LAUNCH */
    unsigned grid[3], block[3];
    void **arguments; /* the caller's: they must stand until the work is done */
    event *event; /* RECORD and WAIT, for its record number `ticket` on the stream `where` */
    uint64_t ticket;
    stream *where;
} work;

typedef struct {
    work *items;
    size_t count, capacity, done;
} work_list;

cu_result append_work(work_list *list, const work *item);
/* Queues `item`, or captures it; NULL is the default stream. */
cu_result queue_work(cu_stream handle, work item);
cu_result begin_capture(cu_stream handle);
/* Moves what was captured to `list`. */
cu_result end_capture(cu_stream handle, work_list *list);
/* NULL where `handle` is no stream. */
stream *find_stream(cu_stream handle);
bool is_capturing(const stream *self);
/* Does what is queued on `where`, up to the event's record number `ticket`. */
void drain_until(stream *where, const event *self, uint64_t ticket);
/* Does all that is queued. */
void drain_streams(void);
void destroy_stream(void *stream);

/* driver_graph.c */
void destroy_graph(void *graph);

/* driver_kernels.c: module, function and launch. */
cu_result launch_now(const work *item);
void destroy_module(void *module);

/* driver.c: the context that is current in this thread; NULL without. */
const void *current_context(void);

#endif
