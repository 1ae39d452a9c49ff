/* lwc-run: runs the packaged model on raw tensors, and measures it, on a device without Python. */
#define _POSIX_C_SOURCE 200809L
#include LWC_HEADER

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define LWC_PASTE(a, b) a##b
#define LWC_JOIN(a, b) LWC_PASTE(a, b)
#define API(name) LWC_JOIN(LWC_PREFIX, name)

enum { MAX_TENSORS = 64, EXIT_USAGE = 2, EXIT_INPUT = 3, EXIT_UNSUPPORTED = 4, EXIT_RESOURCE = 6, MAX_REPEAT = 1000000 };

static const char usage[] =
    "usage: lwc-run --input FILE [--input FILE ...] --output FILE [--output FILE ...] [--expected FILE ...]\n"
    "               [--repeat N] [--profile] [--threads N]\n"
    "  --input FILE   raw values of the header's type, row-major, native byte order; one for each input, in order\n"
    "  --output FILE  is written the same way; one for each output, or none with --repeat\n"
    "                 or --expected\n"
    "  --expected FILE  what an output should be, as float64: prints the root of the mean squared error as JSON, null\n"
    "                 where a value is not finite; one for each output\n"
    "  --repeat N     runs N times more and prints the latency as JSON (milliseconds)\n"
    "  --profile      with --repeat: also the median time of each call of a kernel, in nanoseconds\n"
    "  --threads N    1 to 256; 0 or absent: the model's default\n";

typedef struct {
    const char *inputs[MAX_TENSORS];
    const char *outputs[MAX_TENSORS];
    const char *expected[MAX_TENSORS];
    uint32_t input_count;
    uint32_t output_count;
    uint32_t expected_count;
    uint32_t repeat;
    bool profile;
    uint32_t threads;
} options;

__attribute__((noreturn, format(printf, 2, 3))) static void quit(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("lwc-run: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(code);
}

static uint32_t parse_number(const char *option, const char *text, unsigned long limit)
{
    char *end = NULL;
    errno = 0;
    const unsigned long value = strtoul(text, &end, 10);
    if (errno || !isdigit((unsigned char)*text) || *end || value > limit)
        quit(EXIT_USAGE, "%s '%s': give a number from 0 to %lu", option, text, limit);
    return (uint32_t)value;
}

static void append(const char **list, uint32_t *count, const char *option, const char *value)
{
    if (*count == MAX_TENSORS)
        quit(EXIT_USAGE, "%s: given more than %d times", option, MAX_TENSORS);
    list[(*count)++] = value;
}

static options parse(int argc, char **argv)
{
    options given = {0};
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0) {
            fputs(usage, stdout);
            exit(0);
        }
        if (strcmp(option, "--profile") == 0) {
            given.profile = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : NULL;
        if (!value)
            quit(EXIT_USAGE, "'%s': unknown, or without its value; see lwc-run --help", option);
        if (strcmp(option, "--input") == 0)
            append(given.inputs, &given.input_count, option, value);
        else if (strcmp(option, "--output") == 0)
            append(given.outputs, &given.output_count, option, value);
        else if (strcmp(option, "--expected") == 0)
            append(given.expected, &given.expected_count, option, value);
        else if (strcmp(option, "--repeat") == 0)
            given.repeat = parse_number(option, value, MAX_REPEAT);
        else if (strcmp(option, "--threads") == 0)
            given.threads = parse_number(option, value, 256);
        else
            quit(EXIT_USAGE, "option '%s': unknown; see lwc-run --help", option);
    }
    if (given.profile && !given.repeat)
        quit(EXIT_USAGE, "--profile: give --repeat N, the number of runs, too");
    return given;
}

static void check(lwc_status status)
{
    if (status == LWC_OK)
        return;
    const bool resource = status == LWC_ERROR_MEMORY || status == LWC_ERROR_DEVICE;
    const int code = status == LWC_ERROR_CPU ? EXIT_UNSUPPORTED : resource ? EXIT_RESOURCE : EXIT_INPUT;
    quit(code, "%s", API(last_error)());
}

static void *allocate(size_t bytes)
{
    void *memory = NULL;
    if (posix_memalign(&memory, 64, bytes ? bytes : 1) != 0)
        quit(EXIT_RESOURCE, "out of memory");
    return memory;
}

/* Reads the `size` bytes of a tensor, no more and no fewer. */
static void read_file(const char *path, const char *what, const char *name, void *data, size_t size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        quit(EXIT_INPUT, "%s: cannot be read (%s)", path, strerror(errno));
    const size_t bytes = fread(data, 1, size, file);
    const int more = fgetc(file);
    if (ferror(file))
        quit(EXIT_INPUT, "%s: cannot be read (%s)", path, strerror(errno));
    fclose(file);
    if (bytes != size || more != EOF)
        quit(EXIT_INPUT, "%s: has %s than the %zu bytes of %s '%s'", path, more != EOF ? "more" : "fewer", size, what, name);
}

/* Removes what could not be written whole; never a device or a link, which root could remove. */
static void discard(const char *path)
{
    struct stat status;
    if (lstat(path, &status) == 0 && S_ISREG(status.st_mode))
        remove(path);
}

static void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        quit(EXIT_INPUT, "%s: cannot be written (%s)", path, strerror(errno));
    errno = 0;
    const size_t written = fwrite(data, 1, bytes, file);
    const int reason = errno;
    if (fclose(file) != 0 || written != bytes) {
        const char *text = strerror(reason ? reason : errno);
        discard(path);
        quit(EXIT_RESOURCE, "%s: cannot be written (%s)", path, text);
    }
}

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(lwc_context *context, const lwc_tensor_data *inputs, uint32_t input_count,
                    const lwc_tensor_data *outputs, uint32_t output_count, const options *given)
{
    double *times = allocate(given->repeat * sizeof *times);
    double sum = 0;
    for (uint32_t i = 0; i < given->repeat; i++) {
        const double start = milliseconds();
        check(API(run)(context, inputs, input_count, outputs, output_count));
        times[i] = milliseconds() - start;
        sum += times[i];
    }
    qsort(times, given->repeat, sizeof *times, compare);
    printf("{\"repeat\": %u, \"threads\": %u, \"median_ms\": %.4f, \"p90_ms\": %.4f, \"min_ms\": %.4f, \"mean_ms\": %.4f}\n",
           given->repeat, given->threads, times[given->repeat / 2], times[given->repeat * 9ull / 10], times[0],
           sum / given->repeat);
    if (fflush(stdout) != 0)
        quit(EXIT_RESOURCE, "the latency cannot be printed (%s)", strerror(errno));
    free(times);
}

/* The root of the mean squared error of an output; NaN where a value is not finite. */
static double error_of(const lwc_tensor_info *info, const void *data, const double *expected)
{
    size_t count = 1;
    for (uint32_t axis = 0; axis < info->rank; axis++)
        count *= (size_t)info->shape[axis];
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const double value = info->dtype == LWC_FLOAT32 ? ((const float *)data)[i] : ((const uint8_t *)data)[i];
        sum += (value - expected[i]) * (value - expected[i]);
    }
    return isfinite(sum) ? sqrt(sum / (double)count) : NAN;
}

/* Reads what an output should be, a double for each of its values. */
static double *read_expected(const char *path, const lwc_tensor_info *info)
{
    const size_t size = info->bytes / (info->dtype == LWC_FLOAT32 ? sizeof(float) : 1) * sizeof(double);
    double *expected = allocate(size);
    read_file(path, "output", info->name, expected, size);
    return expected;
}

/* Prints how far the outputs are from what they should be. */
static void hold_against(const lwc_model *model, const lwc_tensor_data *outputs, double *const *expected, uint32_t count)
{
    printf("{\"rms_errors\": [");
    for (uint32_t i = 0; i < count; i++) {
        lwc_tensor_info info;
        check(API(output_info)(model, i, &info));
        const double error = error_of(&info, outputs[i].data, expected[i]);
        fputs(i ? ", " : "", stdout);
        if (isnan(error))
            fputs("null", stdout);
        else
            printf("%.17g", error);
    }
    puts("]}");
    if (fflush(stdout) != 0)
        quit(EXIT_RESOURCE, "the errors cannot be printed (%s)", strerror(errno));
}

static int compare_counts(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Prints the median time of each call over further runs. */
static void profile(const lwc_model *model, lwc_context *context, const lwc_tensor_data *inputs, uint32_t input_count,
                    const lwc_tensor_data *outputs, uint32_t output_count, uint32_t repeat)
{
    const uint32_t calls = API(call_count)(model);
    uint64_t *run = allocate(calls * sizeof *run);
    uint64_t *times = allocate((size_t)calls * repeat * sizeof *times); /* call after call */
    for (uint32_t i = 0; i < repeat; i++) {
        check(API(run_profiled)(context, inputs, input_count, outputs, output_count, run, calls));
        for (uint32_t call = 0; call < calls; call++)
            times[(size_t)call * repeat + i] = run[call];
    }
    printf("{\"calls_ns\": [");
    for (uint32_t call = 0; call < calls; call++) {
        uint64_t *own = times + (size_t)call * repeat;
        qsort(own, repeat, sizeof *own, compare_counts);
        printf("%s%" PRIu64, call ? ", " : "", own[repeat / 2]);
    }
    printf("]}\n");
    if (fflush(stdout) != 0)
        quit(EXIT_RESOURCE, "the times cannot be printed (%s)", strerror(errno));
    free(times);
    free(run);
}

int main(int argc, char **argv)
{
    const options given = parse(argc, argv);
    const lwc_model *model = NULL;
    check(API(open)(&model));
    const uint32_t input_count = API(input_count)(model), output_count = API(output_count)(model);
    if (given.input_count != input_count)
        quit(EXIT_USAGE, "the model has %u inputs, --input was given %u times", input_count, given.input_count);
    if (given.expected_count && given.expected_count != output_count)
        quit(EXIT_USAGE, "the model has %u outputs, --expected was given %u times", output_count, given.expected_count);
    if (given.output_count != output_count && (given.output_count || !(given.repeat || given.expected_count)))
        quit(EXIT_USAGE, "the model has %u outputs, --output was given %u times", output_count, given.output_count);

    lwc_tensor_data inputs[MAX_TENSORS], outputs[MAX_TENSORS];
    double *expected[MAX_TENSORS];
    lwc_tensor_info info;
    for (uint32_t i = 0; i < input_count; i++) {
        check(API(input_info)(model, i, &info));
        inputs[i] = (lwc_tensor_data){allocate(info.bytes), info.bytes, LWC_HOST};
        read_file(given.inputs[i], "input", info.name, inputs[i].data, info.bytes);
    }
    for (uint32_t i = 0; i < output_count; i++) {
        check(API(output_info)(model, i, &info));
        outputs[i] = (lwc_tensor_data){allocate(info.bytes), info.bytes, LWC_HOST};
        expected[i] = given.expected_count ? read_expected(given.expected[i], &info) : NULL;
    }

    lwc_context *context = NULL;
    check(API(create_context)(model, given.threads, &context));
    check(API(run)(context, inputs, input_count, outputs, output_count));
    for (uint32_t i = 0; i < given.output_count; i++)
        write_file(given.outputs[i], outputs[i].data, outputs[i].bytes);
    if (given.expected_count)
        hold_against(model, outputs, expected, output_count);
    if (given.repeat)
        measure(context, inputs, input_count, outputs, output_count, &given);
    if (given.profile)
        profile(model, context, inputs, input_count, outputs, output_count, given.repeat);

    check(API(destroy_context)(context));
    for (uint32_t i = 0; i < input_count; i++)
        free(inputs[i].data);
    for (uint32_t i = 0; i < output_count; i++) {
        free(outputs[i].data);
        free(expected[i]);
    }
    return 0;
}
