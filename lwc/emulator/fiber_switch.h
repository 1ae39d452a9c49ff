/* From one stack to another: what a fiber needs of a processor. */
#pragma once
#include <string.h>

#if defined(__x86_64__)
/* Keeps what a call must keep on the stack, stores its pointer in *from, and goes on where `to` was left. */
extern "C" void lwc_switch(void **from, void *to);
asm(".text\n.globl lwc_switch\n.hidden lwc_switch\n.type lwc_switch, @function\nlwc_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
    ".size lwc_switch, .-lwc_switch\n");

/* A stack from which lwc_switch "returns" to `entry`. */
static inline void *new_stack(char *top, void (*entry)())
{
    void **words = (void **)top - 2;
    words[0] = (void *)entry;
    return memset(words - 6, 0, 6 * sizeof(void *));
}
#elif defined(__aarch64__)
extern "C" void lwc_switch(void **from, void *to);
asm(".text\n.globl lwc_switch\n.hidden lwc_switch\n.type lwc_switch, %function\nlwc_switch:\n"
    "sub sp, sp, #160\nstp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\n"
    "stp x25, x26, [sp, #48]\nstp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\n"
    "stp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\nstp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\n"
    "mov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
    "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\n"
    "ldp x25, x26, [sp, #48]\nldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\n"
    "ldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\nldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\n"
    "add sp, sp, #160\nret\n.size lwc_switch, .-lwc_switch\n");

static inline void *new_stack(char *top, void (*entry)())
{
    void **words = (void **)memset(top - 160, 0, 160);
    words[11] = (void *)entry;
    return words;
}
#else
#error "fibers are written for x86-64 and 64-bit ARM"
#endif
