/* Between float and binary16, in integers: IEEE 754-2019, 3.4 and 4.3.1. */
#pragma once
#include <stdint.h>
#include <string.h>

#define LWC_EMULATED

static inline uint32_t lwc_float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float lwc_float_value(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Rounded to the nearest, of two the even one; every NaN becomes the one that a GPU gives. */
static inline unsigned short lwc_half_bits(float value)
{
    const uint32_t bits = lwc_float_bits(value), magnitude = bits & 0x7fffffff;
    const unsigned short sign = (unsigned short)(bits >> 16 & 0x8000);
    if (magnitude > 0x7f800000)
        return 0x7fff;
    if (magnitude >= 0x477ff000) /* 65520, halfway from the largest number to the next power of two */
        return sign | 0x7c00;
    if (magnitude < 0x38800000) /* 2^-14: beside 0.5, the last bit of a float counts 2^-24, as in a subnormal half */
        return sign | (unsigned short)(lwc_float_bits(lwc_float_value(magnitude) + 0.5f) - lwc_float_bits(0.5f));
    return sign | (unsigned short)((magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13);
}

static inline float lwc_half_value(unsigned short bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, shifted = (uint32_t)(bits & 0x7fff) << 13;
    if (shifted >= 0x7c00u << 13)
        return lwc_float_value(sign | 0x7f800000 | shifted);
    return lwc_float_value(sign | lwc_float_bits(lwc_float_value(shifted) * 0x1p112f));
}
