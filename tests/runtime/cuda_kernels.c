/* The kernels of test_cuda_host.py, emulated by hand: what `lwc.emulator` makes of CUDA C. */
#include <stdint.h>
#include <string.h>

enum { N = 192, BLOCK = 64 };

static void affine(float *y, const float *x, const float *bias)
{
    for (int i = 0; i < N; i++)
        y[i] = 2 * (x[i] + bias[i]);
}

static void negate(float *z, const float *y)
{
    for (int i = 0; i < N; i++)
        z[i] = -y[i];
}

static void count_up(uint8_t *w, const uint8_t *m)
{
    for (int i = 0; i < N; i++)
        w[i] = (uint8_t)(m[i] + 1);
}

static void *pointer(void **arguments, int index)
{
    return *(void **)arguments[index];
}

int lwc_emulates(const char *kernel);
int lwc_emulates(const char *kernel)
{
    return strcmp(kernel, "affine") == 0 || strcmp(kernel, "negate") == 0 || strcmp(kernel, "count_up") == 0;
}

int lwc_emulate(const char *kernel, const unsigned grid[3], const unsigned block[3], void **arguments);
int lwc_emulate(const char *kernel, const unsigned grid[3], const unsigned block[3], void **arguments)
{
    if (!lwc_emulates(kernel))
        return 1;
    if (block[0] > BLOCK)
        return 2;
    if (grid[0] * block[0] != N || grid[1] * grid[2] * block[1] * block[2] != 1)
        return 3;
    if (strcmp(kernel, "affine") == 0)
        affine(pointer(arguments, 0), pointer(arguments, 1), pointer(arguments, 2));
    if (strcmp(kernel, "negate") == 0)
        negate(pointer(arguments, 0), pointer(arguments, 1));
    if (strcmp(kernel, "count_up") == 0)
        count_up(pointer(arguments, 0), pointer(arguments, 1));
    return 0;
}
