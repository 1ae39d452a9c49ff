/* Everything that a context does, in two passes. Prints what the first one says of the call of the driver that fails;
 * nothing fails in the second, which must be right. */
#define _POSIX_C_SOURCE 200809L
#include "cuda_test.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALLS = 3 };

static const char *plan, *record;
static bool told;

/* Only the library's own calls of the driver are counted, and fail. */
static void begin(void)
{
    if (plan)
        setenv("LWC_EMULATOR_FAIL", plan, 1);
    if (record)
        setenv("LWC_EMULATOR_LOG", record, 1);
}

/* Whether `status` is LWC_OK. */
static bool end(lwc_status status)
{
    unsetenv("LWC_EMULATOR_FAIL");
    unsetenv("LWC_EMULATOR_LOG");
    if (status != LWC_OK && !told)
        printf("%d %s\n", (int)status, affine_last_error());
    told = told || status != LWC_OK;
    return status == LWC_OK;
}

#define CALL(call) (begin(), end(call))

/* Runs in each way; false at the first that fails. */
static bool use(lwc_context *context, const lwc_tensor_data *inputs, const lwc_tensor_data *outputs)
{
    float x[N], z[N];
    uint8_t m[N], w[N];
    uint64_t times[CALLS];
    fill(x, m, 1);
    const lwc_tensor_data given[] = {{x, sizeof x, LWC_HOST}, {m, sizeof m, LWC_HOST}};
    const lwc_tensor_data taken[] = {{z, sizeof z, LWC_HOST}, {w, sizeof w, LWC_HOST}};
    if (!CALL(affine_run(context, given, 2, taken, 2)))
        return false;
    expect_results(x, m, z, w);
    if (!CALL(affine_run_on_stream(context, inputs, 2, outputs, 2, NULL)))
        return false;
    if (!CALL(affine_run_profiled(context, given, 2, taken, 2, times, CALLS)))
        return false;
    expect_results(x, m, z, w);
    return CALL(affine_run_on_stream(context, inputs, 2, outputs, 2, NULL));
}

static bool pass(const lwc_tensor_data *inputs, const lwc_tensor_data *outputs)
{
    const lwc_model *model = NULL;
    lwc_context *context = NULL;
    if (!CALL(affine_open(&model)) || !CALL(affine_create_context(model, 0, &context)))
        return false;
    const bool used = use(context, inputs, outputs);
    return CALL(affine_destroy_context(context)) && used;
}

/* The argument, if there is one, is where the stand-in writes what is left at the end. */
int main(int argc, char **argv)
{
    float x[N], z[N];
    uint8_t m[N], w[N];
    plan = getenv("LWC_EMULATOR_FAIL");
    record = getenv("LWC_EMULATOR_LOG");
    end(LWC_OK);
    open_gpu();
    fill(x, m, 7);
    const lwc_tensor_data inputs[] = {{on_gpu(x, sizeof x), sizeof x, LWC_CUDA},
                                      {on_gpu(m, sizeof m), sizeof m, LWC_CUDA}};
    const lwc_tensor_data outputs[] = {{on_gpu(NULL, sizeof z), sizeof z, LWC_CUDA},
                                       {on_gpu(NULL, sizeof w), sizeof w, LWC_CUDA}};
    const bool good = pass(inputs, outputs);
    EXPECT(good != told);
    record = NULL;
    plan = NULL;
    told = true;
    EXPECT(pass(inputs, outputs));
    EXPECT(gpu.cuStreamSynchronize(NULL) == 0);
    read_gpu(z, outputs[0].data, sizeof z);
    read_gpu(w, outputs[1].data, sizeof w);
    expect_results(x, m, z, w);
    for (int i = 0; i < 2; i++) {
        free_gpu(inputs[i].data);
        free_gpu(outputs[i].data);
    }
    close_gpu();
    if (argc == 2)
        setenv("LWC_EMULATOR_LOG", argv[1], 1);
    return 0;
}
