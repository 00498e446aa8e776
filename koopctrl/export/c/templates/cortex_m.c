/* Processor in the loop: @name@ on an emulated Cortex-M4, fed with measurements and set-points, counting instructions.
 * Results leave by semihosting, as hexadecimal words. */

#include <stdint.h>
#include "@name@.h"

extern uint32_t stack_top, data_from, data_begin, data_end, bss_begin, bss_end;
int main(void);

static void host(int operation, const void *argument) {
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void reset_handler(void) {
    uint32_t *from = &data_from, *to;
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* the floating-point unit on */
    __asm__ volatile("dsb\n isb");
    for (to = &data_begin; to < &data_end;) *to++ = *from++;
    for (to = &bss_begin; to < &bss_end;) *to++ = 0;
    main();
    host(0x18, (const void *)0x20026); /* application exit */
    for (;;) {}
}

static void fault(void) {
    host(0x04, "fault\n");
    host(0x18, (const void *)0x20026);
    for (;;) {}
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))&stack_top, reset_handler, fault, fault, fault, fault, fault};

static void word(uint32_t value) {
    static const char digits[] = "0123456789abcdef";
    char text[10];
    int i;
    for (i = 0; i < 8; i++) text[i] = digits[value >> (28 - 4 * i) & 15];
    text[8] = ' ';
    text[9] = 0;
    host(0x04, text);
}

typedef union {
    @scalar@ value;
    uint32_t words[sizeof(@scalar@) / 4];
} number;

static const @scalar@ signals[@rows@][@columns@] = {@signals@};

int main(void) {
    static @name@_state state;
    volatile uint32_t *timer = (volatile uint32_t *)0xE000E010; /* SysTick: control, reload, current */
    int k, i;
    timer[1] = 0xFFFFFF;
    timer[2] = 0;
    timer[0] = 5;
    @name@_reset(&state);
    for (k = 0; k < @rows@; k++) {
        @scalar@ u[@n_u@];
        uint32_t begin = timer[2];
        int status = @name@_control(&state, signals[k], signals[k] + @n_measured@, u, 0);
        word((begin - timer[2]) & 0xFFFFFF);
        word((uint32_t)status);
        for (i = 0; i < @n_u@; i++) {
            number n;
            unsigned j;
            n.value = u[i];
            for (j = 0; j < sizeof(@scalar@) / 4; j++) word(n.words[j]);
        }
        host(0x04, "\n");
    }
    return 0;
}
