/* lwc-rpc.so: what a tuner loads on a server of Apache TVM's RPC. It runs the job in job.tar beside it.
 *
 * report gets what lwc-trials prints, complaint why there is none.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TYPE_INT = 1, NOT_RUN = 127 };

/* A value as TVM's functions take and return it; an integer, where `type` is TYPE_INT. */
typedef struct {
    int32_t type;
    uint32_t zero;
    int64_t integer;
} tvm_value;

__attribute__((visibility("default"))) int __tvm_ffi_lwc_trials(void *self, const tvm_value *arguments, int32_t count,
                                                                tvm_value *result);

/* lwc-trials is a child of this shell, not of another one between, and so ends with it. */
static const char script[] =
    "folder=$PWD/job\n"
    "exec >report 2>complaint\n"
    "mkdir \"$folder\" && tar -xof job.tar -C \"$folder\" && cd \"$folder\" && ./lwc-trials list\n"
    "code=$?\n"
    "rm -rf \"$folder\"\n"
    "exit $code\n";

/* In the new process: never returns. */
static void execute(const char *folder)
{
    const int nothing = open("/dev/null", O_RDONLY);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Python ignores it, and programs would take that over. */
    signal(SIGPIPE, SIG_DFL);
    if (nothing >= 0 && dup2(nothing, 0) >= 0 && chdir(folder) == 0)
        execl("/bin/sh", "sh", "-c", script, (char *)NULL);
    _exit(NOT_RUN);
}

static int run_in(const char *folder)
{
    int status = 0;
    const pid_t process = fork();
    if (process == 0)
        execute(folder);
    if (process < 0)
        return NOT_RUN;
    while (waitpid(process, &status, 0) < 0)
        if (errno != EINTR)
            return NOT_RUN;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int __tvm_ffi_lwc_trials(void *self, const tvm_value *arguments, int32_t count, tvm_value *result)
{
    static const char here;
    char path[PATH_MAX];
    Dl_info found;
    (void)self, (void)arguments, (void)count;
    const int known = dladdr(&here, &found) != 0 && snprintf(path, sizeof path, "%s", found.dli_fname) < PATH_MAX;
    *result = (tvm_value){TYPE_INT, 0, known ? run_in(dirname(path)) : NOT_RUN};
    return 0;
}
