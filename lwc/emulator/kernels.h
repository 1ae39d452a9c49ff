/* What CUDA C has beyond C++, for a processor: CUDA C++ Programming Guide, "C++ Language Extensions".
 *
 * Shared memory lies in a section of each kernel's own, so that it can be overwritten before each block.
 */
#pragma once
#include "half.h"
#include "tensor_cores.h"

#include <math.h>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
/* `used`: otherwise a compiler may assume that nothing else writes it while a thread waits. */
#define LWC_SHARED(section_name) static __attribute__((used, section(section_name)))
/* nvcc takes `__shared__ alignas(64) float`, C++ no alignas there. */
#define alignas(bytes) __attribute__((aligned(bytes)))

#define LWC_VECTOR(type, name, bytes)                                                                                  \
    struct alignas(bytes * 2) name##2 {                                                                                \
        type x, y;                                                                                                     \
    };                                                                                                                 \
    struct alignas(bytes * 4) name##4 {                                                                                \
        type x, y, z, w;                                                                                               \
    };                                                                                                                 \
    static inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                            \
    static inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
LWC_VECTOR(signed char, char, 1)
LWC_VECTOR(unsigned char, uchar, 1)
LWC_VECTOR(short, short, 2)
LWC_VECTOR(unsigned short, ushort, 2)
LWC_VECTOR(int, int, 4)
LWC_VECTOR(unsigned, uint, 4)
LWC_VECTOR(float, float, 4)
#undef LWC_VECTOR

struct alignas(16) longlong2 {
    long long x, y;
};

static inline float max(float a, float b) { return fmaxf(a, b); }
static inline float min(float a, float b) { return fminf(a, b); }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline long max(long a, long b) { return a > b ? a : b; }
static inline long min(long a, long b) { return a < b ? a : b; }

/* The C library has functions of these names. */
#define __expf expf
#define __logf logf
#define rsqrtf(x) (1.0f / sqrtf(x))
static inline float __fdividef(float a, float b) { return a / b; }
/* Rounded once, and to the nearest integer, of two the even one. */
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline int __float2int_rn(float value) { return (int)rintf(value); }
static inline float __frcp_rn(float x) { return 1.0f / x; }

template <class T> static inline T __ldg(const T *place) { return *place; }

template <class To, class From> static inline To lwc_bits(From value)
{
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To bits;
    memcpy(&bits, &value, sizeof(To));
    return bits;
}
static inline float __int_as_float(int bits) { return lwc_bits<float>(bits); }
static inline float __uint_as_float(unsigned bits) { return lwc_bits<float>(bits); }
static inline int __float_as_int(float value) { return lwc_bits<int>(value); }
static inline unsigned __float_as_uint(float value) { return lwc_bits<unsigned>(value); }

/* Four products of 8-bit numbers, added to c. */
static inline int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 32; i += 8)
        c += (int)(signed char)(a >> i) * (int)(signed char)(b >> i);
    return c;
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned c)
{
    for (int i = 0; i < 32; i += 8)
        c += (a >> i & 255) * (b >> i & 255);
    return c;
}
