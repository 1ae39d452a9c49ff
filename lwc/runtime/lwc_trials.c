/* lwc-trials: runs programs one after another, each within limits, and prints what came of them as JSON.
 *
 * It is what a tuner has on a device: neither Python nor anything else is needed there.
 */
#define _DEFAULT_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_WORDS = 256, MAX_LINE = 64 * 1024, MAX_PRINTED = 64 * 1024, MAX_FIELD = 256, EXIT_USAGE = 2, EXIT_INPUT = 3, NO_PROGRAM = 127 };

static const rlim_t MAX_MEMORY = (rlim_t)32 << 30;

static const char usage[] =
    "usage: lwc-trials LIST [COMMAND...]\n"
    "  LIST     a line for each run: seconds, seconds of processor time, folder, and the program's arguments, with\n"
    "           tabs between them\n"
    "  COMMAND  what stands before each program, such as: taskset -c 4-7\n"
    "Each run is ./lwc-run in its folder, and may take half of the memory, up to 32 GB. After one that fails, further\n"
    "ones in the same folder are left out: null.\n";

typedef struct {
    double seconds;
    rlim_t processor_seconds;
    const char *folder;
    char *words[MAX_WORDS]; /* COMMAND, the program and its arguments, and null */
} trial;

typedef struct {
    int status; /* as waitpid gives it */
    bool late;
    size_t length;
    char printed[MAX_PRINTED];
} outcome;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* In the new process: never returns. */
static void execute(trial *given, int output)
{
    const struct rlimit processor = {given->processor_seconds, given->processor_seconds};
    const rlim_t half = (rlim_t)sysconf(_SC_PHYS_PAGES) / 2 * (rlim_t)sysconf(_SC_PAGE_SIZE);
    const rlim_t bytes = half < MAX_MEMORY ? half : MAX_MEMORY;
    const struct rlimit memory = {bytes, bytes};
    const int nothing = open("/dev/null", O_RDWR);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (nothing >= 0 && dup2(nothing, 0) >= 0 && dup2(output, 1) >= 0 && dup2(nothing, 2) >= 0 &&
        setrlimit(RLIMIT_CPU, &processor) == 0 && setrlimit(RLIMIT_DATA, &memory) == 0 && chdir(given->folder) == 0)
        execvp(given->words[0], given->words);
    _exit(NO_PROGRAM);
}

/* Reads what there is, and whether the other side may write more. */
static bool take(int input, outcome *result)
{
    char rest[4096];
    const bool full = result->length == MAX_PRINTED;
    const ssize_t count = full ? read(input, rest, sizeof rest)
                               : read(input, result->printed + result->length, MAX_PRINTED - result->length);
    if (count > 0 && !full)
        result->length += (size_t)count;
    return count > 0 || (count < 0 && errno == EINTR);
}

static void run(trial *given, outcome *result)
{
    int ends[2];
    result->length = 0;
    result->late = false;
    result->status = NO_PROGRAM << 8;
    if (pipe(ends) != 0)
        return;
    const pid_t process = fork();
    if (process == 0) {
        close(ends[0]);
        execute(given, ends[1]);
    }
    close(ends[1]);
    if (process < 0) {
        close(ends[0]);
        return;
    }
    setpgid(process, process);
    const double deadline = now() + given->seconds;
    bool open = true, ended = false;
    while (!ended && now() < deadline) {
        struct pollfd wanted[] = {{STDOUT_FILENO, 0, 0}, {ends[0], POLLIN, 0}};
        /* What it started may keep the pipe open, and it may live on without the pipe. */
        if (poll(wanted, open ? 2 : 1, open ? 50 : 1) > 0) {
            if (wanted[0].revents & (POLLERR | POLLHUP)) {
                /* Nobody reads the answer any more. */
                kill(-process, SIGKILL);
                _exit(EXIT_INPUT);
            }
            if (open && wanted[1].revents)
                open = take(ends[0], result);
        }
        ended = waitpid(process, &result->status, WNOHANG) == process;
    }
    kill(-process, SIGKILL);
    if (!ended) {
        result->late = true;
        waitpid(process, &result->status, 0);
    }
    struct pollfd left = {ends[0], POLLIN, 0};
    while (open && poll(&left, 1, 0) > 0)
        open = take(ends[0], result);
    close(ends[0]);
}

/* A JSON string; bytes that are not ASCII are taken as Latin-1. */
static void print_text(const char *text, size_t length)
{
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_outcome(const outcome *result)
{
    const bool exited = WIFEXITED(result->status);
    printf("{\"code\": %d, \"signal\": %d, \"late\": %s, \"printed\": ", exited ? WEXITSTATUS(result->status) : 0,
           exited ? 0 : WTERMSIG(result->status), result->late ? "true" : "false");
    print_text(result->printed, result->length);
    putchar('}');
}

/* Cuts `line` at its tabs. */
static bool parse(char *line, trial *given, char **command, int command_words)
{
    char *words[MAX_WORDS], *rest = line;
    int count = 0, place = 0;
    line[strcspn(line, "\n")] = 0;
    for (char *word; (word = strsep(&rest, "\t")) != NULL;) {
        if (count == MAX_WORDS)
            return false;
        words[count++] = word;
    }
    if (count < 3 || command_words + 1 + count - 3 >= MAX_WORDS)
        return false;
    given->seconds = strtod(words[0], NULL);
    given->processor_seconds = (rlim_t)strtoull(words[1], NULL, 10);
    given->folder = words[2];
    for (int i = 0; i < command_words; i++)
        given->words[place++] = command[i];
    given->words[place++] = "./lwc-run";
    for (int i = 3; i < count; i++)
        given->words[place++] = words[i];
    given->words[place] = NULL;
    return given->seconds > 0 && given->processor_seconds > 0;
}

/* The first line of a file, without its end; empty where there is none. */
static void read_field(const char *path, char field[MAX_FIELD])
{
    FILE *file = fopen(path, "r");
    field[0] = 0;
    if (!file)
        return;
    if (!fgets(field, MAX_FIELD, file))
        field[0] = 0;
    field[strcspn(field, "\n")] = 0;
    fclose(file);
}

/* The processor as the system names it: only x86 has model names, Arm's number their parts. */
static void find_processor(char name[MAX_FIELD])
{
    char line[4096], part[MAX_FIELD] = "unknown";
    FILE *file = fopen("/proc/cpuinfo", "r");
    name[0] = 0;
    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (!value)
            continue;
        for (*value++ = 0; isspace((unsigned char)*value);)
            value++;
        for (char *end = value + strlen(value); end > value && isspace((unsigned char)end[-1]);)
            *--end = 0;
        if (strncmp(line, "model name", 10) == 0)
            snprintf(name, MAX_FIELD, "%.200s", value);
        else if (strncmp(line, "CPU part", 8) == 0)
            snprintf(part, sizeof part, "%.200s", value);
    }
    if (file)
        fclose(file);
    if (!name[0])
        snprintf(name, MAX_FIELD, "CPU part %.200s", part);
}

/* How often the processor was slowed down since it was started, and how far it is now, as the system counts it. */
static long long count_throttling(void)
{
    static const char *const patterns[] = {"/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count",
                                           "/sys/class/thermal/cooling_device*/cur_state"};
    long long sum = 0;
    for (int i = 0; i < 2; i++) {
        glob_t found;
        if (glob(patterns[i], 0, NULL, &found) != 0)
            continue;
        for (size_t place = 0; place < found.gl_pathc; place++) {
            char field[MAX_FIELD];
            read_field(found.gl_pathv[place], field);
            sum += strtoll(field, NULL, 10);
        }
        globfree(&found);
    }
    return sum;
}

static int fail(int code, const char *name, const char *reason)
{
    fprintf(stderr, "lwc-trials: %s: %s\n", name, reason);
    return code;
}

int main(int argc, char **argv)
{
    static char line[MAX_LINE], failed[MAX_LINE];
    static trial given;
    static outcome result;
    if (argc < 2 || argv[1][0] == '-') {
        fputs(usage, argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_USAGE : 0;
    }
    FILE *list = fopen(argv[1], "r");
    if (!list)
        return fail(EXIT_INPUT, argv[1], strerror(errno));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const long long throttling = count_throttling();
    const char *separator = "";
    const bool watched = isatty(STDERR_FILENO);
    char field[MAX_FIELD];
    printf("{\"runs\": [");
    for (int number = 1; fgets(line, sizeof line, list); number++) {
        if (watched)
            fprintf(stderr, "\rrun %d", number);
        if (!parse(line, &given, argv + 2, argc - 2))
            return fail(EXIT_INPUT, argv[1], "has a line that is none of a list's");
        fputs(separator, stdout);
        separator = ",\n";
        if (strcmp(failed, given.folder) == 0) {
            fputs("null", stdout);
            continue;
        }
        run(&given, &result);
        print_outcome(&result);
        fflush(stdout);
        if (result.status != 0)
            snprintf(failed, sizeof failed, "%s", given.folder);
    }
    if (ferror(list))
        return fail(EXIT_INPUT, argv[1], "cannot be read");
    fclose(list);
    if (watched)
        fputc('\n', stderr);
    printf("],\n\"throttled\": %s, \"cpu\": ", count_throttling() > throttling ? "true" : "false");
    find_processor(field);
    print_text(field, strlen(field));
    read_field("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", field);
    fputs(", \"governor\": ", stdout);
    print_text(field, strlen(field));
    puts("}");
    return fflush(stdout) == 0 ? 0 : EXIT_INPUT;
}
