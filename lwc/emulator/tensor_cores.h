/* What cuda/tensor_cores.h has for a GPU: here the first lane of a warp holds a whole tile, and does all the work. */
#pragma once
#include "warp.h"

#include <unistd.h>

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
enum layout_t { mem_row_major };

template <class Use, int rows, int columns, int inner, class Number, class Layout = void> struct fragment {
    static_assert(rows == 16 && columns == 16 && inner == 16, "16 x 16 x 16");
    float x[16][16];
};

static inline bool works() { return lwc::lane() == 0; }

/* What the instructions demand of an address and of a stride, in bytes. */
static inline void require_aligned(const void *address, size_t stride)
{
    if ((uintptr_t)address % 32 == 0 && stride % 16 == 0)
        return;
    static const char message[] = "emulator: a tile of a matrix is not aligned; pad the rows in shared memory\n";
    (void)!write(2, message, sizeof message - 1);
    abort();
}

template <class Tile, class Number> static void load_matrix_sync(Tile &tile, const Number *address, unsigned stride)
{
    if (!works())
        return;
    require_aligned(address, stride * sizeof(Number));
    for (unsigned i = 0; i < 16; i++)
        for (unsigned j = 0; j < 16; j++)
            tile.x[i][j] = (float)address[i * stride + j];
}

template <class Tile> static void fill_fragment(Tile &tile, float value)
{
    if (!works())
        return;
    for (unsigned i = 0; i < 16; i++)
        for (unsigned j = 0; j < 16; j++)
            tile.x[i][j] = value;
}

template <class Sums, class Left, class Right>
static void mma_sync(Sums &d, const Left &a, const Right &b, const Sums &c)
{
    if (!works())
        return;
    for (unsigned i = 0; i < 16; i++) {
        float row[16];
        memcpy(row, c.x[i], sizeof row);
        for (unsigned k = 0; k < 16; k++)
            for (unsigned j = 0; j < 16; j++)
                row[j] += a.x[i][k] * b.x[k][j];
        memcpy(d.x[i], row, sizeof row);
    }
}

template <class Tile> static void store_matrix_sync(float *address, const Tile &tile, unsigned stride, layout_t)
{
    if (!works())
        return;
    require_aligned(address, stride * sizeof(float));
    for (unsigned i = 0; i < 16; i++)
        memcpy(address + i * stride, tile.x[i], sizeof tile.x[i]);
}

} // namespace nvcuda::wmma
