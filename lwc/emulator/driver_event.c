/* Events: places in the work on a stream that others wait for, and times. */
#include "driver_internal.h"

static cu_result create_event(cu_event *handle)
{
    if (!handle)
        return CU_INVALID_VALUE;
    *handle = create_object(EVENT, sizeof(event), current_context());
    return *handle ? CU_SUCCESS : CU_OUT_OF_MEMORY;
}

static cu_result record(event *self, cu_stream handle)
{
    stream *where = find_stream(handle);
    if (!is_live(EVENT, self) || !where)
        return CU_INVALID_HANDLE;
    if (is_capturing(where))
        return CU_CAPTURE_UNSUPPORTED;
    self->where = where;
    return queue_work(handle, (work){.kind = RECORD, .event = self, .ticket = ++self->recorded});
}

static cu_result wait_on(cu_stream handle, event *self)
{
    if (!is_live(EVENT, self))
        return CU_INVALID_HANDLE;
    return queue_work(handle, (work){.kind = WAIT, .event = self, .ticket = self->recorded, .where = self->where});
}

static cu_result await(event *self)
{
    if (!is_live(EVENT, self))
        return CU_INVALID_HANDLE;
    drain_until(self->where, self, self->recorded);
    return CU_SUCCESS;
}

static cu_result elapsed(float *milliseconds, const event *start, const event *end)
{
    if (!is_live(EVENT, start) || !is_live(EVENT, end) || !start->recorded || !end->recorded)
        return CU_INVALID_HANDLE;
    if (start->reached < start->recorded || end->reached < end->recorded)
        return CU_NOT_READY;
    *milliseconds = (float)(end->milliseconds - start->milliseconds);
    return CU_SUCCESS;
}

static cu_result end_event(event *self)
{
    if (!is_live(EVENT, self))
        return CU_INVALID_HANDLE;
    drain_streams();
    destroy_object(self);
    return CU_SUCCESS;
}

cu_result cuStreamWaitEvent(cu_stream handle, cu_event waited, unsigned flags)
{
    SERVE(NEEDS_CONTEXT, flags ? CU_INVALID_VALUE : wait_on(handle, (event *)waited));
}

cu_result cuEventCreate(cu_event *handle, unsigned flags)
{
    SERVE(NEEDS_CONTEXT, flags & ~(unsigned)CU_EVENT_UNTIMED ? CU_INVALID_VALUE : create_event(handle));
}

cu_result cuEventRecord(cu_event handle, cu_stream where)
{
    SERVE(NEEDS_CONTEXT, record((event *)handle, where));
}

cu_result cuEventSynchronize(cu_event handle)
{
    SERVE_ANYWAY(NEEDS_CONTEXT, await((event *)handle));
}

cu_result cuEventElapsedTime(float *milliseconds, cu_event start, cu_event end)
{
    SERVE(NEEDS_CONTEXT, elapsed(milliseconds, (event *)start, (event *)end));
}

cu_result cuEventDestroy_v2(cu_event handle)
{
    SERVE_ANYWAY(NEEDS_CONTEXT, end_event((event *)handle));
}
