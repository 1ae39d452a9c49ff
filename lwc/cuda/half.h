/* `half`, binary16 of IEEE 754: a number in memory, which is computed with as a float. TVM prints the names. */
#ifndef LWC_EMULATED
__device__ __forceinline__ unsigned short lwc_half_bits(float value)
{
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
__device__ __forceinline__ float lwc_half_value(unsigned short bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
#endif

struct half {
    unsigned short bits;

    half() = default;
    __device__ __forceinline__ explicit half(float value) : bits(lwc_half_bits(value)) {}
    __device__ __forceinline__ operator float() const { return lwc_half_value(bits); }
};
struct alignas(4) half2 {
    half x, y;
};
struct alignas(8) half4 {
    half x, y, z, w;
};
__device__ __forceinline__ half __float2half_rn(float value) { return half(value); }
__device__ __forceinline__ half2 make_half2(half x, half y) { return {x, y}; }
__device__ __forceinline__ half4 make_half4(half x, half y, half z, half w) { return {x, y, z, w}; }
__device__ __forceinline__ unsigned __pack_half2(half x, half y) { return (unsigned)y.bits << 16 | x.bits; }
