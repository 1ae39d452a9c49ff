/* The text of each thread's last error. */
#include "lwc_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 256 };

static _Thread_local char text[TEXT_BYTES];

void lwc_set_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
}

const char *lwc_get_error(void)
{
    return text;
}

/* Kernels report a violated check here, in pieces. */
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count);
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count)
{
    size_t used = (size_t)snprintf(text, sizeof text, "%s: ", kind ? kind : "Error");
    for (int32_t i = 0; i < count && used < sizeof text - 1; i++) {
        if (parts[i])
            used += (size_t)snprintf(text + used, sizeof text - used, "%s", parts[i]);
    }
}
