/* One sampled block as a co-simulation component, for FMI 2.0 and 3.0 alike.
 *
 * Signals stand in one array of doubles, by value reference: time, inputs, outputs, parameters; whole numbers in another.
 * The block is sampled at k FMU_DT from the start time on. Inputs count as they are at the beginning of a sample. A controller
 * or an estimator answers there; a model moves on at the end. Communication steps need not be sample times. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FMU_LATE 0.01 /* of a sample time, by which communication points may miss samples */

typedef struct {
    double real[FMU_N_REAL];
    int whole[FMU_N_WHOLE > 0 ? FMU_N_WHOLE : 1];
    double held[FMU_N_IN > 0 ? FMU_N_IN : 1]; /* inputs at the beginning of this sample */
    double start;
    double samples; /* that have ended */
    int begun;      /* whether this one has begun */
    int initialised;
    adapter block;
} component_state;

typedef void (*component_logger)(void *environment, const char *text);

typedef struct {
    component_state now;
    component_logger log;
    void *environment;
} component;

static const double *component_inputs(const component *c) { return c->now.real + 1; }

static void component_say(const component *c, const char *text) {
    if (c->log != 0) c->log(c->environment, text);
}

static void component_reset(component *c) {
    memset(&c->now, 0, sizeof c->now);
    memcpy(c->now.real, fmu_start, sizeof c->now.real);
    if (FMU_N_WHOLE > 0) memcpy(c->now.whole, fmu_whole_start, sizeof c->now.whole);
}

static void component_outputs(component *c) {
    adapter_outputs(&c->now.block, component_inputs(c), c->now.real + 1 + FMU_N_IN, c->now.whole);
}

static void component_initialise(component *c) {
    adapter_reset(&c->now.block, c->now.real + 1 + FMU_N_IN + FMU_N_OUT);
    c->now.initialised = 1;
}

/* From `time` on over `step` seconds; tells whether that can be. */
static int component_advance(component *c, double time, double step) {
    double end = (time + step - c->now.start) / FMU_DT;
    if (!isfinite(time) || !isfinite(step) || step < 0.0) {
        component_say(c, "a communication step is negative or not finite");
        return 0;
    }
    for (;;) {
        if (!c->now.begun && c->now.samples < end - FMU_LATE) {
            memcpy(c->now.held, component_inputs(c), FMU_N_IN * sizeof(double));
            adapter_begin(&c->now.block, c->now.held, c->now.whole);
            c->now.begun = 1;
        }
        if (!c->now.begun || c->now.samples + 1.0 > end + FMU_LATE) break;
        adapter_end(&c->now.block, c->now.held);
        c->now.samples += 1.0;
        c->now.begun = 0;
    }
    c->now.real[0] = time + step;
    return 1;
}

/* Whether n references are of real (or whole) variables; those that are calculated are up to date then. */
static int component_ready(component *c, const unsigned int *references, size_t n, int whole) {
    size_t i;
    for (i = 0; i < n; i++) {
        unsigned int r = references[i];
        if (whole ? r < FMU_N_REAL || r >= FMU_N_REAL + FMU_N_WHOLE : r >= FMU_N_REAL) {
            component_say(c, "no variable of this type has such a value reference");
            return 0;
        }
    }
    if (c->now.initialised) component_outputs(c);
    return 1;
}

static int component_may_set(component *c, const unsigned int *references, size_t n, int whole) {
    size_t i;
    for (i = 0; i < n; i++) {
        unsigned int r = references[i];
        int input = !whole && r >= 1 && r < 1 + FMU_N_IN;
        int parameter = !whole && r >= 1 + FMU_N_IN + FMU_N_OUT && r < FMU_N_REAL && !c->now.initialised;
        int tuning = whole && FMU_TUNED && r == FMU_N_REAL + FMU_N_WHOLE - 1;
        if (!input && !parameter && !tuning) {
            component_say(c, "only inputs, a tuning, and parameters before the start can be set");
            return 0;
        }
    }
    return 1;
}
