/* What this processor can do, by Linux's names. A name that is not in the table counts as missing. */
#include "lwc_internal.h"

#include <string.h>

typedef struct {
    const char *name;
    bool present;
} feature;

static const char *first_missing(const char *const *names, const feature *features, size_t count)
{
    for (; *names; names++) {
        bool present = false;
        for (size_t i = 0; i < count; i++)
            present = present || (features[i].present && strcmp(features[i].name, *names) == 0);
        if (!present)
            return *names;
    }
    return NULL;
}

#if defined(__x86_64__)

#include <cpuid.h>

static bool bit(unsigned value, int position)
{
    return (value >> position) & 1u;
}

/* Which register files the operating system saves: XCR0 (Intel SDM volume 1, chapter 13). */
static unsigned saved_state(void)
{
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* The bit positions are those of CPUID leaves 1 and 7 (Intel SDM volume 2, CPUID). */
const char *lwc_missing_cpu_feature(const char *const *names)
{
    unsigned a, b = 0, c = 0, d, c1 = 0, state = 0;
    if (__get_cpuid(1, &a, &b, &c1, &d) && bit(c1, 27))
        state = saved_state();
    b = c = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        b = c = 0;
    const bool avx = (state & 0x6u) == 0x6u, avx512 = (state & 0xe6u) == 0xe6u;
    const feature features[] = {
        {"fma", avx && bit(c1, 12)},         {"avx2", avx && bit(b, 5)},
        {"bmi2", bit(b, 8)},                 {"avx512f", avx512 && bit(b, 16)},
        {"avx512dq", avx512 && bit(b, 17)},  {"avx512cd", avx512 && bit(b, 28)},
        {"avx512bw", avx512 && bit(b, 30)},  {"avx512vl", avx512 && bit(b, 31)},
        {"avx512_vnni", avx512 && bit(c, 11)},
    };
    return first_missing(names, features, sizeof features / sizeof *features);
}

#elif defined(__aarch64__)

#include <sys/auxv.h>

/* The bit positions are those of HWCAP and HWCAP2 in Linux's arch/arm64/include/uapi/asm/hwcap.h. */
const char *lwc_missing_cpu_feature(const char *const *names)
{
    const unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
    const feature features[] = {
        {"asimd", (first >> 1) & 1u},
        {"asimddp", (first >> 20) & 1u},
        {"i8mm", (second >> 13) & 1u},
    };
    return first_missing(names, features, sizeof features / sizeof *features);
}

#else
#error "lwc's runtime knows x86-64 and AArch64"
#endif
