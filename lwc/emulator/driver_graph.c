/* Graphs: work that was captured, and is done once for each launch. */
#include "driver_internal.h"

#include <stdlib.h>

/* Both what cuStreamEndCapture gives and what is instantiated from that. */
typedef struct {
    object base;
    work_list list;
} graph;

void destroy_graph(void *pointer)
{
    graph *self = pointer;
    free(self->list.items);
    destroy_object(self);
}

static cu_result end_with_graph(cu_stream stream, cu_graph *handle)
{
    work_list list;
    const cu_result ended = end_capture(stream, &list);
    if (ended)
        return ended;
    graph *made = create_object(GRAPH, sizeof *made, current_context());
    if (!made) {
        free(list.items);
        return CU_OUT_OF_MEMORY;
    }
    made->list = list;
    *handle = (cu_graph)made;
    return CU_SUCCESS;
}

static cu_result instantiate(cu_graph_exec *handle, const graph *from)
{
    if (!is_live(GRAPH, from))
        return CU_INVALID_HANDLE;
    graph *made = create_object(EXECUTABLE, sizeof *made, current_context());
    if (!made)
        return CU_OUT_OF_MEMORY;
    for (size_t i = 0; i < from->list.count; i++) {
        if (append_work(&made->list, &from->list.items[i]) != CU_SUCCESS) {
            destroy_graph(made);
            return CU_OUT_OF_MEMORY;
        }
    }
    *handle = (cu_graph_exec)made;
    return CU_SUCCESS;
}

static cu_result launch(const graph *self, cu_stream stream)
{
    cu_result result = is_live(EXECUTABLE, self) ? CU_SUCCESS : CU_INVALID_HANDLE;
    for (size_t i = 0; result == CU_SUCCESS && i < self->list.count; i++)
        result = queue_work(stream, self->list.items[i]);
    return result;
}

static cu_result end_graph(object_kind kind, void *handle)
{
    if (!is_live(kind, handle))
        return CU_INVALID_HANDLE;
    destroy_graph(handle);
    return CU_SUCCESS;
}

cu_result cuStreamBeginCapture_v2(cu_stream stream, int mode)
{
    SERVE(NEEDS_CONTEXT, mode < 0 || mode > 2 ? CU_INVALID_VALUE : begin_capture(stream));
}

cu_result cuStreamEndCapture(cu_stream stream, cu_graph *handle)
{
    SERVE_ANYWAY(NEEDS_CONTEXT, end_with_graph(stream, handle));
}

cu_result cuGraphInstantiateWithFlags(cu_graph_exec *handle, cu_graph from, unsigned long long flags)
{
    SERVE(NEEDS_CONTEXT, flags ? CU_INVALID_VALUE : instantiate(handle, (graph *)from));
}

cu_result cuGraphLaunch(cu_graph_exec handle, cu_stream stream)
{
    SERVE(NEEDS_CONTEXT, launch((graph *)handle, stream));
}

cu_result cuGraphDestroy(cu_graph handle)
{
    SERVE_ANYWAY(NEEDS_CONTEXT, end_graph(GRAPH, handle));
}

cu_result cuGraphExecDestroy(cu_graph_exec handle)
{
    SERVE_ANYWAY(NEEDS_CONTEXT, end_graph(EXECUTABLE, handle));
}
