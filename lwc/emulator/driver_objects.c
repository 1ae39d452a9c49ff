/* The list of what lives: a handle that is not in it was never given, or is given back already. */
#include "driver_internal.h"

#include <stdlib.h>

static object *live;

void *create_object(object_kind kind, size_t bytes, const void *owner)
{
    object *made = calloc(1, bytes);
    if (!made)
        return NULL;
    *made = (object){kind, live, owner};
    live = made;
    return made;
}

bool is_live(object_kind kind, const void *pointer)
{
    for (const object *each = live; each; each = each->next) {
        if (each == pointer)
            return each->kind == kind;
    }
    return false;
}

void destroy_object(void *pointer)
{
    for (object **link = &live; *link; link = &(*link)->next) {
        if (*link != pointer)
            continue;
        *link = (*link)->next;
        free(pointer);
        return;
    }
}

static object *search(object *from, object_kind kind, const void *owner)
{
    while (from && (from->kind != kind || (owner && from->owner != owner)))
        from = from->next;
    return from;
}

void *first_object(object_kind kind, const void *owner)
{
    return search(live, kind, owner);
}

void *next_object(const void *previous, const void *owner)
{
    const object *last = previous;
    return search(last->next, last->kind, owner);
}

void log_objects(const char *title)
{
    unsigned counts[KINDS] = {0};
    for (const object *each = live; each; each = each->next)
        counts[each->kind]++;
    write_log("%s allocations %u modules %u streams %u events %u graphs %u\n", title, counts[ALLOCATION],
              counts[MODULE], counts[STREAM], counts[EVENT], counts[GRAPH] + counts[EXECUTABLE]);
}
