/* Tiles of 16 x 16, in registers of a warp, and their products: PTX ISA, "Warp-level matrix instructions".
 *
 * The names are those of NVIDIA's header mma.h, which TVM prints and NVRTC has not. Operands and sums lie in shared
 * memory, row by row, each row `stride` numbers after the last. */
#ifndef LWC_EMULATED
namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
enum layout_t { mem_row_major };

template <class Use, int rows, int columns, int inner, class Number, class Layout = void> struct fragment;
template <class Use> struct fragment<Use, 16, 16, 16, half, row_major> {
    unsigned x[8];
};
template <> struct fragment<accumulator, 16, 16, 16, float> {
    float x[8];
};
typedef fragment<matrix_a, 16, 16, 16, half, row_major> left;
typedef fragment<matrix_b, 16, 16, 16, half, row_major> right;
typedef fragment<accumulator, 16, 16, 16, float> sums;

__device__ __forceinline__ unsigned in_shared(const void *address)
{
    return (unsigned)__cvta_generic_to_shared(address);
}

#define LWC_EIGHT(kind, x)                                                                                             \
    kind(x[0]), kind(x[1]), kind(x[2]), kind(x[3]), kind(x[4]), kind(x[5]), kind(x[6]), kind(x[7])
#define LWC_LOAD(operand)                                                                                              \
    asm volatile("wmma.load." operand ".sync.aligned.row.m16n16k16.shared.f16 "                                        \
                 "{%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"                                                         \
                 : LWC_EIGHT("=r", tile.x)                                                                             \
                 : "r"(in_shared(address)), "r"(stride)                                                                \
                 : "memory")

__device__ __forceinline__ void load_matrix_sync(left &tile, const half *address, unsigned stride) { LWC_LOAD("a"); }
__device__ __forceinline__ void load_matrix_sync(right &tile, const half *address, unsigned stride) { LWC_LOAD("b"); }
#undef LWC_LOAD

__device__ __forceinline__ void fill_fragment(sums &tile, float value)
{
    for (int i = 0; i < 8; i++)
        tile.x[i] = value;
}

__device__ __forceinline__ void mma_sync(sums &d, const left &a, const right &b, const sums &c)
{
    asm volatile("wmma.mma.sync.aligned.row.row.m16n16k16.f32.f32 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9, %10, %11, %12, %13, %14, %15}, "
                 "{%16, %17, %18, %19, %20, %21, %22, %23}, {%24, %25, %26, %27, %28, %29, %30, %31};"
                 : LWC_EIGHT("=f", d.x)
                 : LWC_EIGHT("r", a.x), LWC_EIGHT("r", b.x), LWC_EIGHT("f", c.x));
}

__device__ __forceinline__ void store_matrix_sync(float *address, const sums &tile, unsigned stride, layout_t)
{
    asm volatile("wmma.store.d.sync.aligned.row.m16n16k16.shared.f32 [%8], "
                 "{%0, %1, %2, %3, %4, %5, %6, %7}, %9;"
                 :
                 : LWC_EIGHT("f", tile.x), "r"(in_shared(address)), "r"(stride)
                 : "memory");
}
#undef LWC_EIGHT

} // namespace nvcuda::wmma
#endif
