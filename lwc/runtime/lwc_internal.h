/* What the parts of the runtime and the generated program share. Nothing here is visible outside the library. */
#ifndef LWC_INTERNAL_H
#define LWC_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LWC_ALIGNMENT = 64, LWC_MAX_THREADS = 256, LWC_MAX_TENSORS = 64 };

/* Apache TVM's calling convention (tvm-ffi 0.1, c_api.h; DLPack 1.0, dlpack.h), as far as compiled kernels use it. */
typedef struct {
    uint8_t code; /* 0 signed, 1 unsigned, 2 float, 6 bool */
    uint8_t bits;
    uint16_t lanes;
} dl_data_type;

typedef struct {
    int32_t device_type; /* 1: CPU */
    int32_t device_id;
} dl_device;

typedef struct {
    void *data;
    dl_device device;
    int32_t ndim;
    dl_data_type dtype;
    const int64_t *shape;
    const int64_t *strides;
    uint64_t byte_offset;
} dl_tensor;

typedef struct {
    int32_t type_index; /* 7: a dl_tensor pointer */
    uint32_t padding;
    union {
        int64_t integer;
        double number;
        void *pointer;
    } value;
} tvm_any;

typedef int tvm_kernel(void *self, const tvm_any *arguments, int32_t count, tvm_any *result);

/* Where a buffer lies; the values are those of `Space` in lwc/lower/program.py. */
typedef enum { LWC_INPUT = 0, LWC_OUTPUT = 1, LWC_WEIGHTS = 2, LWC_ARENA = 3 } lwc_space;

typedef struct {
    lwc_space space;
    uint64_t offset; /* bytes; for inputs and outputs their index */
    int32_t rank;
    dl_data_type dtype;
    const int64_t *shape;
} lwc_buffer;

typedef struct {
    tvm_kernel *kernel;
    uint32_t first; /* index into the program's operands */
    uint32_t count;
} lwc_call;

/* A tensor at the library's border. */
typedef struct {
    const char *name;
    const char *layout;
    uint32_t rank;
    const int64_t *shape;
    size_t bytes;
    bool is_float; /* float32, else uint8 */
    float scale;   /* real number = scale * (element - zero_point) */
    int32_t zero_point;
} lwc_port;

typedef struct {
    const lwc_port *inputs;
    const lwc_port *outputs;
    uint32_t input_count;
    uint32_t output_count;
    const lwc_buffer *buffers;
    uint32_t buffer_count;
    const uint32_t *operands; /* indices of buffers, call after call */
    uint32_t operand_count;
    const lwc_call *calls; /* NULL where a GPU executes them: cuda/gpu.h has the launches */
    uint32_t call_count;
    const unsigned char *weights;
    uint64_t arena_bytes;
    uint64_t thread_bytes; /* what kernels borrow in each thread, at most */
    uint32_t threads;                /* the default of new contexts; 0: as many as there are cores */
    const char *const *cpu_features; /* Linux's names, ended by NULL */
    bool on_gpu;                     /* the kernels run on a GPU, and tensors may lie in its memory */
} lwc_program;

/* The generated one. */
extern const lwc_program lwc_the_program;

/* cpu.c: the first of `names` that this processor lacks; NULL where it has them all. */
const char *lwc_missing_cpu_feature(const char *const *names);

/* clock.c */
uint64_t lwc_nanoseconds(void);

/* finite.c: whether the float32 numbers at `place` are finite. */
bool lwc_all_finite(const unsigned char *place, size_t bytes);

/* memory.c: memory at LWC_ALIGNMENT, of at least one byte; NULL where there is none left. */
void *lwc_allocate(size_t bytes);

/* Memory of one thread that kernels borrow in blocks, and give back in reverse order. */
enum { LWC_WORKSPACE_BLOCKS = 16 };
typedef struct {
    unsigned char *memory;
    size_t bytes, used;
    size_t starts[LWC_WORKSPACE_BLOCKS];
    uint32_t count;
} lwc_workspace;

bool lwc_workspace_create(lwc_workspace *workspace, size_t bytes);
/* NULL where less than `bytes` are left. */
void *lwc_workspace_borrow(lwc_workspace *workspace, size_t bytes);
int lwc_workspace_return(lwc_workspace *workspace, const void *memory);
void lwc_workspace_free(lwc_workspace *workspace);

/* pool.c: the threads of one context; the calling thread is the first of them. */
typedef struct lwc_pool lwc_pool;
typedef struct {
    void *sync;
    int32_t tasks;
} tvm_parallel_group;
typedef int tvm_task(int task, tvm_parallel_group *group, void *closure);

uint32_t lwc_available_cores(void);
/* Each thread can borrow `thread_bytes`. NULL where memory or threads are out. */
lwc_pool *lwc_pool_create(uint32_t threads, size_t thread_bytes);
void lwc_pool_destroy(lwc_pool *pool);
/* A run is about to begin: threads that sleep wake up meanwhile. */
void lwc_pool_announce(lwc_pool *pool);
/* Makes `pool` serve the kernels that this thread calls, until the next lwc_pool_leave. */
void lwc_pool_enter(lwc_pool *pool);
void lwc_pool_leave(void);

/* Runs `task` in parts, on all threads of `pool`; 0 where each part gave 0. */
int lwc_pool_run(lwc_pool *pool, tvm_task *task, void *closure);

/* error.c: the text of this thread's last error. */
void lwc_set_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *lwc_get_error(void);

#endif
