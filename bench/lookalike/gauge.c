// Watch the stack and the heap from outside the program: the linker puts these functions around
// MicroPython's own (see mpconfigvariant.mk), and the figures go to a file that the bench reads.
//
// PARWANA_GAUGE  path of that file, of at least sizeof(gauge_t) bytes; gauge.py knows its layout
// PARWANA_STACK  size of the stack in bytes, 15,360 unless given

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "py/cstack.h"
#include "py/gc.h"

#define ESP32_STACK 15360 // its task's 16 KB less the margin that MicroPython keeps

typedef struct {
    uint32_t stack_limit;
    uint32_t stack_peak;    // most bytes in use at a call
    uint32_t heap_total;
    uint32_t live;          // bytes in use right after the last collection
    uint32_t live_peak;
    uint32_t used_peak;     // most bytes in use right before a collection
    uint32_t block;         // largest free block right after the last collection
    uint32_t block_least;   // 0: none yet
    uint32_t collections;
    uint32_t freed;         // bytes that collections gave back
} gauge_t;

static gauge_t none;
static volatile gauge_t *gauge = &none;
static size_t used_before;

void __real_mp_cstack_init_with_sp_here(size_t size);
void __real_mp_cstack_check(void);
void __real_gc_collect_start(void);
void __real_gc_collect_end(void);

void __wrap_mp_cstack_init_with_sp_here(size_t size) {
    const char *asked = getenv("PARWANA_STACK"), *path = getenv("PARWANA_GAUGE");
    int file = path ? open(path, O_RDWR) : -1;
    if (file >= 0) {
        void *page = mmap(NULL, sizeof(gauge_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (page != MAP_FAILED) {
            gauge = page;
        }
        close(file);
    }
    size = asked ? strtoul(asked, NULL, 10) : ESP32_STACK;
    gauge->stack_limit = size;
    __real_mp_cstack_init_with_sp_here(size);
}

void __wrap_mp_cstack_check(void) {
    uint32_t used = mp_cstack_usage();
    if (used > gauge->stack_peak) {
        gauge->stack_peak = used;
    }
    __real_mp_cstack_check();
}

void __wrap_gc_collect_start(void) {
    gc_info_t info;
    gc_info(&info);
    used_before = info.used;
    if (info.used > gauge->used_peak) {
        gauge->used_peak = info.used;
    }
    __real_gc_collect_start();
}

void __wrap_gc_collect_end(void) {
    gc_info_t info;
    __real_gc_collect_end();
    gc_info(&info);
    uint32_t block = info.max_free * MICROPY_BYTES_PER_GC_BLOCK;
    gauge->heap_total = info.total;
    gauge->live = info.used;
    if (info.used > gauge->live_peak) {
        gauge->live_peak = info.used;
    }
    gauge->block = block;
    if (block < gauge->block_least || !gauge->block_least) {
        gauge->block_least = block;
    }
    gauge->collections += 1;
    gauge->freed += used_before - info.used;
}
