/* Streams, and the work that is queued on them. */
#define _POSIX_C_SOURCE 200809L
#include "driver_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct stream {
    object base;
    work_list queue;
    work_list captured;
    bool capturing;
    cu_result failure; /* of work that was done, until somebody waits */
};

static stream default_stream;

stream *find_stream(cu_stream handle)
{
    if (!handle)
        return &default_stream;
    return is_live(STREAM, handle) ? (stream *)handle : NULL;
}

cu_result append_work(work_list *list, const work *item)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 16;
        work *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return CU_OUT_OF_MEMORY;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = *item;
    return CU_SUCCESS;
}

cu_result queue_work(cu_stream handle, work item)
{
    stream *self = find_stream(handle);
    if (!self)
        return CU_INVALID_HANDLE;
    return append_work(self->capturing ? &self->captured : &self->queue, &item);
}

bool is_capturing(const stream *self)
{
    return self->capturing;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

static cu_result do_work(const work *item)
{
    switch (item->kind) {
    case COPY:
        memcpy(item->to, item->from, item->bytes);
        return CU_SUCCESS;
    case LAUNCH:
        return launch_now(item);
    case RECORD:
        item->event->reached = item->ticket;
        item->event->milliseconds = now();
        return CU_SUCCESS;
    default:
        drain_until(item->where, item->event, item->ticket);
        return CU_SUCCESS;
    }
}

static void do_next(stream *self)
{
    /* A copy: what it waits for may be queued on the same stream, and move the list. */
    const work item = self->queue.items[self->queue.done++];
    const cu_result result = do_work(&item);
    if (self->failure == CU_SUCCESS)
        self->failure = result;
}

static bool is_done(const stream *self)
{
    return self->queue.done == self->queue.count;
}

static cu_result drain(stream *self)
{
    while (!is_done(self))
        do_next(self);
    self->queue.done = self->queue.count = 0;
    const cu_result failure = self->failure;
    self->failure = CU_SUCCESS;
    return failure;
}

void drain_until(stream *where, const event *self, uint64_t ticket)
{
    while (self->reached < ticket && !is_done(where))
        do_next(where);
}

void drain_streams(void)
{
    drain(&default_stream);
    for (stream *each = first_object(STREAM, NULL); each; each = next_object(each, NULL))
        drain(each);
}

void destroy_stream(void *pointer)
{
    stream *self = pointer;
    drain_streams();
    free(self->queue.items);
    free(self->captured.items);
    destroy_object(self);
}

cu_result begin_capture(cu_stream handle)
{
    stream *self = find_stream(handle);
    if (!self || self == &default_stream)
        return CU_CAPTURE_UNSUPPORTED;
    if (self->capturing)
        return CU_ILLEGAL_STATE;
    self->capturing = true;
    return CU_SUCCESS;
}

cu_result end_capture(cu_stream handle, work_list *list)
{
    stream *self = find_stream(handle);
    if (!self || !self->capturing)
        return CU_ILLEGAL_STATE;
    *list = self->captured;
    self->captured = (work_list){0};
    self->capturing = false;
    return CU_SUCCESS;
}

static cu_result create_stream(cu_stream *handle)
{
    if (!handle)
        return CU_INVALID_VALUE;
    *handle = create_object(STREAM, sizeof(stream), current_context());
    return *handle ? CU_SUCCESS : CU_OUT_OF_MEMORY;
}

static cu_result end_stream(cu_stream handle)
{
    if (!is_live(STREAM, handle))
        return CU_INVALID_HANDLE;
    destroy_stream(handle);
    return CU_SUCCESS;
}

static cu_result synchronize(stream *self)
{
    if (!self)
        return CU_INVALID_HANDLE;
    return self->capturing ? CU_CAPTURE_UNSUPPORTED : drain(self);
}

cu_result cuStreamCreate(cu_stream *handle, unsigned flags)
{
    SERVE(NEEDS_CONTEXT, flags > CU_STREAM_NON_BLOCKING ? CU_INVALID_VALUE : create_stream(handle));
}

cu_result cuStreamDestroy_v2(cu_stream handle)
{
    SERVE_ANYWAY(NEEDS_CONTEXT, end_stream(handle));
}

cu_result cuStreamSynchronize(cu_stream handle)
{
    SERVE_ANYWAY(NEEDS_CONTEXT, synchronize(find_stream(handle)));
}
