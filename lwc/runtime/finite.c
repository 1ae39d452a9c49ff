/* Whether float32 numbers are finite. */
#include "lwc_internal.h"

#include <string.h>

/* Infinity and NaN have all bits of the exponent set (IEEE 754). */
bool lwc_all_finite(const unsigned char *place, size_t bytes)
{
    uint32_t infinite = 0;
    for (size_t i = 0; i < bytes; i += sizeof(uint32_t)) {
        uint32_t bits;
        memcpy(&bits, place + i, sizeof bits);
        infinite |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !infinite;
}
