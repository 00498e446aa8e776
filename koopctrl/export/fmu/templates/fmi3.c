/* FMI 3.0, co-simulation: types and functions as the standard (https://fmi-standard.org/docs/3.0) declares them. */

#include <stdbool.h>
#include <stdint.h>

#if defined(_WIN32)
#define FMU_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define FMU_EXPORT __attribute__((visibility("default")))
#else
#define FMU_EXPORT
#endif

typedef void *fmi3Instance;
typedef void *fmi3InstanceEnvironment;
typedef void *fmi3FMUState;
typedef uint32_t fmi3ValueReference;
typedef float fmi3Float32;
typedef double fmi3Float64;
typedef int8_t fmi3Int8;
typedef uint8_t fmi3UInt8;
typedef int16_t fmi3Int16;
typedef uint16_t fmi3UInt16;
typedef int32_t fmi3Int32;
typedef uint32_t fmi3UInt32;
typedef int64_t fmi3Int64;
typedef uint64_t fmi3UInt64;
typedef bool fmi3Boolean;
typedef char fmi3Char;
typedef const fmi3Char *fmi3String;
typedef uint8_t fmi3Byte;
typedef const fmi3Byte *fmi3Binary;
typedef bool fmi3Clock;
typedef enum { fmi3OK, fmi3Warning, fmi3Discard, fmi3Error, fmi3Fatal } fmi3Status;
typedef enum { fmi3Independent, fmi3Constant, fmi3Fixed, fmi3Tunable, fmi3Discrete, fmi3Dependent } fmi3DependencyKind;
typedef enum { fmi3IntervalNotYetKnown, fmi3IntervalUnchanged, fmi3IntervalChanged } fmi3IntervalQualifier;
typedef void (*fmi3LogMessageCallback)(fmi3InstanceEnvironment, fmi3Status, fmi3String, fmi3String);
typedef void (*fmi3ClockUpdateCallback)(fmi3InstanceEnvironment);
typedef void (*fmi3IntermediateUpdateCallback)(fmi3InstanceEnvironment, fmi3Float64, fmi3Boolean, fmi3Boolean,
                                               fmi3Boolean, fmi3Boolean, fmi3Boolean *, fmi3Float64 *);
typedef void (*fmi3LockPreemptionCallback)(void);
typedef void (*fmi3UnlockPreemptionCallback)(void);

typedef struct {
    component c;
    fmi3LogMessageCallback callback;
    fmi3InstanceEnvironment environment;
} instance3;

static void say3(void *environment, const char *text) {
    const instance3 *m = environment;
    if (m->callback != 0) m->callback(m->environment, fmi3Error, "logStatusError", text);
}

FMU_EXPORT const char *fmi3GetVersion(void) { return "3.0"; }

FMU_EXPORT fmi3Status fmi3SetDebugLogging(fmi3Instance i, fmi3Boolean on, size_t n, const fmi3String categories[]) {
    (void)i, (void)on, (void)n, (void)categories;
    return fmi3OK;
}

FMU_EXPORT fmi3Instance fmi3InstantiateCoSimulation(
    fmi3String name, fmi3String token, fmi3String resources, fmi3Boolean visible, fmi3Boolean logging, fmi3Boolean events,
    fmi3Boolean early, const fmi3ValueReference required[], size_t n, fmi3InstanceEnvironment environment,
    fmi3LogMessageCallback log, fmi3IntermediateUpdateCallback update) {
    instance3 *m;
    (void)name, (void)resources, (void)visible, (void)logging, (void)events, (void)early, (void)required, (void)n, (void)update;
    if (token == 0 || strcmp(token, FMU_TOKEN) != 0) {
        if (log != 0) log(environment, fmi3Error, "logStatusError", "the instantiation token is that of another FMU");
        return 0;
    }
    m = calloc(1, sizeof *m);
    if (m == 0) return 0;
    m->callback = log;
    m->environment = environment;
    m->c.log = say3;
    m->c.environment = m;
    component_reset(&m->c);
    return m;
}

FMU_EXPORT fmi3Instance fmi3InstantiateModelExchange(fmi3String a, fmi3String b, fmi3String c, fmi3Boolean d, fmi3Boolean e,
                                                     fmi3InstanceEnvironment f, fmi3LogMessageCallback g) {
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g;
    return 0;
}

FMU_EXPORT fmi3Instance fmi3InstantiateScheduledExecution(
    fmi3String a, fmi3String b, fmi3String c, fmi3Boolean d, fmi3Boolean e, fmi3InstanceEnvironment f, fmi3LogMessageCallback g,
    fmi3ClockUpdateCallback h, fmi3LockPreemptionCallback i, fmi3UnlockPreemptionCallback j) {
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h, (void)i, (void)j;
    return 0;
}

FMU_EXPORT void fmi3FreeInstance(fmi3Instance i) { free(i); }

FMU_EXPORT fmi3Status fmi3EnterInitializationMode(fmi3Instance i, fmi3Boolean has_tolerance, fmi3Float64 tolerance,
                                                  fmi3Float64 start, fmi3Boolean has_stop, fmi3Float64 stop) {
    component *c = &((instance3 *)i)->c;
    (void)has_tolerance, (void)tolerance, (void)has_stop, (void)stop;
    c->now.start = c->now.real[0] = start;
    return fmi3OK;
}

FMU_EXPORT fmi3Status fmi3ExitInitializationMode(fmi3Instance i) {
    component_initialise(&((instance3 *)i)->c);
    return fmi3OK;
}

FMU_EXPORT fmi3Status fmi3Terminate(fmi3Instance i) {
    (void)i;
    return fmi3OK;
}

FMU_EXPORT fmi3Status fmi3Reset(fmi3Instance i) {
    component_reset(&((instance3 *)i)->c);
    return fmi3OK;
}

FMU_EXPORT fmi3Status fmi3DoStep(fmi3Instance i, fmi3Float64 time, fmi3Float64 step, fmi3Boolean no_return,
                                 fmi3Boolean *event, fmi3Boolean *terminate, fmi3Boolean *early, fmi3Float64 *last) {
    component *c = &((instance3 *)i)->c;
    (void)no_return;
    *event = *terminate = *early = 0;
    *last = time;
    if (!component_advance(c, time, step)) return fmi3Error;
    *last = time + step;
    return fmi3OK;
}

FMU_EXPORT fmi3Status fmi3GetFloat64(fmi3Instance i, const fmi3ValueReference r[], size_t n, fmi3Float64 values[], size_t n_values) {
    component *c = &((instance3 *)i)->c;
    size_t k;
    if (n_values != n || !component_ready(c, r, n, 0)) return fmi3Error;
    for (k = 0; k < n; k++) values[k] = c->now.real[r[k]];
    return fmi3OK;
}

FMU_EXPORT fmi3Status fmi3SetFloat64(fmi3Instance i, const fmi3ValueReference r[], size_t n, const fmi3Float64 values[],
                                     size_t n_values) {
    component *c = &((instance3 *)i)->c;
    size_t k;
    if (n_values != n || !component_may_set(c, r, n, 0)) return fmi3Error;
    for (k = 0; k < n; k++) c->now.real[r[k]] = values[k];
    return fmi3OK;
}

FMU_EXPORT fmi3Status fmi3GetInt32(fmi3Instance i, const fmi3ValueReference r[], size_t n, fmi3Int32 values[], size_t n_values) {
    component *c = &((instance3 *)i)->c;
    size_t k;
    if (n_values != n || !component_ready(c, r, n, 1)) return fmi3Error;
    for (k = 0; k < n; k++) values[k] = c->now.whole[r[k] - FMU_N_REAL];
    return fmi3OK;
}

FMU_EXPORT fmi3Status fmi3SetInt32(fmi3Instance i, const fmi3ValueReference r[], size_t n, const fmi3Int32 values[], size_t n_values) {
    component *c = &((instance3 *)i)->c;
    size_t k;
    if (n_values != n || !component_may_set(c, r, n, 1)) return fmi3Error;
    for (k = 0; k < n; k++) {
        if (values[k] < 0 || values[k] >= FMU_TUNED) {
            component_say(c, "there is no such tuning");
            return fmi3Error;
        }
        c->now.whole[r[k] - FMU_N_REAL] = values[k];
    }
    return fmi3OK;
}

/* There are no variables of other types. */
#define FMU_NONE(TYPE)                                                                                                \
    FMU_EXPORT fmi3Status fmi3Get##TYPE(fmi3Instance i, const fmi3ValueReference r[], size_t n, fmi3##TYPE v[], size_t m) {  \
        (void)i, (void)r, (void)v, (void)m;                                                                           \
        return n == 0 ? fmi3OK : fmi3Error;                                                                           \
    }                                                                                                                 \
    FMU_EXPORT fmi3Status fmi3Set##TYPE(fmi3Instance i, const fmi3ValueReference r[], size_t n, const fmi3##TYPE v[],        \
                                        size_t m) {                                                                   \
        (void)i, (void)r, (void)v, (void)m;                                                                           \
        return n == 0 ? fmi3OK : fmi3Error;                                                                           \
    }
FMU_NONE(Float32)
FMU_NONE(Int8)
FMU_NONE(UInt8)
FMU_NONE(Int16)
FMU_NONE(UInt16)
FMU_NONE(UInt32)
FMU_NONE(Int64)
FMU_NONE(UInt64)
FMU_NONE(Boolean)
FMU_NONE(String)

FMU_EXPORT fmi3Status fmi3GetBinary(fmi3Instance i, const fmi3ValueReference r[], size_t n, size_t sizes[], fmi3Binary v[], size_t m) {
    (void)i, (void)r, (void)sizes, (void)v, (void)m;
    return n == 0 ? fmi3OK : fmi3Error;
}
FMU_EXPORT fmi3Status fmi3SetBinary(fmi3Instance i, const fmi3ValueReference r[], size_t n, const size_t sizes[],
                                    const fmi3Binary v[], size_t m) {
    (void)i, (void)r, (void)sizes, (void)v, (void)m;
    return n == 0 ? fmi3OK : fmi3Error;
}
FMU_EXPORT fmi3Status fmi3GetClock(fmi3Instance i, const fmi3ValueReference r[], size_t n, fmi3Clock v[]) {
    (void)i, (void)r, (void)v;
    return n == 0 ? fmi3OK : fmi3Error;
}
FMU_EXPORT fmi3Status fmi3SetClock(fmi3Instance i, const fmi3ValueReference r[], size_t n, const fmi3Clock v[]) {
    (void)i, (void)r, (void)v;
    return n == 0 ? fmi3OK : fmi3Error;
}

FMU_EXPORT fmi3Status fmi3GetFMUState(fmi3Instance i, fmi3FMUState *state) {
    if (*state == 0) *state = malloc(sizeof(component_state));
    if (*state == 0) return fmi3Error;
    memcpy(*state, &((instance3 *)i)->c.now, sizeof(component_state));
    return fmi3OK;
}
FMU_EXPORT fmi3Status fmi3SetFMUState(fmi3Instance i, fmi3FMUState state) {
    memcpy(&((instance3 *)i)->c.now, state, sizeof(component_state));
    return fmi3OK;
}
FMU_EXPORT fmi3Status fmi3FreeFMUState(fmi3Instance i, fmi3FMUState *state) {
    (void)i;
    free(*state);
    *state = 0;
    return fmi3OK;
}
FMU_EXPORT fmi3Status fmi3SerializedFMUStateSize(fmi3Instance i, fmi3FMUState state, size_t *size) {
    (void)i, (void)state;
    *size = sizeof(component_state);
    return fmi3OK;
}
FMU_EXPORT fmi3Status fmi3SerializeFMUState(fmi3Instance i, fmi3FMUState state, fmi3Byte bytes[], size_t size) {
    (void)i;
    if (size < sizeof(component_state)) return fmi3Error;
    memcpy(bytes, state, sizeof(component_state));
    return fmi3OK;
}
FMU_EXPORT fmi3Status fmi3DeserializeFMUState(fmi3Instance i, const fmi3Byte bytes[], size_t size, fmi3FMUState *state) {
    (void)i;
    if (size != sizeof(component_state)) return fmi3Error;
    if (*state == 0) *state = malloc(size);
    if (*state == 0) return fmi3Error;
    memcpy(*state, bytes, size);
    return fmi3OK;
}

/* What this component has no part in: derivatives, events, clocks, arrays of variable size, model exchange. */
#define FMU_REFUSES(NAME, ...) \
    FMU_EXPORT fmi3Status NAME(fmi3Instance i, __VA_ARGS__) { \
        (void)i; \
        return fmi3Error; \
    }
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-parameter"
#endif
FMU_REFUSES(fmi3GetNumberOfVariableDependencies, fmi3ValueReference r, size_t *n)
FMU_REFUSES(fmi3GetVariableDependencies, fmi3ValueReference r, size_t e[], fmi3ValueReference q[], size_t f[],
            fmi3DependencyKind k[], size_t n)
FMU_REFUSES(fmi3GetDirectionalDerivative, const fmi3ValueReference u[], size_t nu, const fmi3ValueReference k[], size_t nk,
            const fmi3Float64 seed[], size_t ns, fmi3Float64 s[], size_t m)
FMU_REFUSES(fmi3GetAdjointDerivative, const fmi3ValueReference u[], size_t nu, const fmi3ValueReference k[], size_t nk,
            const fmi3Float64 seed[], size_t ns, fmi3Float64 s[], size_t m)
FMU_REFUSES(fmi3GetOutputDerivatives, const fmi3ValueReference r[], size_t n, const fmi3Int32 o[], fmi3Float64 v[], size_t m)
FMU_REFUSES(fmi3GetIntervalDecimal, const fmi3ValueReference r[], size_t n, fmi3Float64 v[], fmi3IntervalQualifier q[])
FMU_REFUSES(fmi3GetIntervalFraction, const fmi3ValueReference r[], size_t n, fmi3UInt64 c[], fmi3UInt64 s[],
            fmi3IntervalQualifier q[])
FMU_REFUSES(fmi3GetShiftDecimal, const fmi3ValueReference r[], size_t n, fmi3Float64 v[])
FMU_REFUSES(fmi3GetShiftFraction, const fmi3ValueReference r[], size_t n, fmi3UInt64 c[], fmi3UInt64 s[])
FMU_REFUSES(fmi3SetIntervalDecimal, const fmi3ValueReference r[], size_t n, const fmi3Float64 v[])
FMU_REFUSES(fmi3SetIntervalFraction, const fmi3ValueReference r[], size_t n, const fmi3UInt64 c[], const fmi3UInt64 s[])
FMU_REFUSES(fmi3SetShiftDecimal, const fmi3ValueReference r[], size_t n, const fmi3Float64 v[])
FMU_REFUSES(fmi3SetShiftFraction, const fmi3ValueReference r[], size_t n, const fmi3UInt64 c[], const fmi3UInt64 s[])
FMU_REFUSES(fmi3UpdateDiscreteStates, fmi3Boolean *a, fmi3Boolean *b, fmi3Boolean *c, fmi3Boolean *d, fmi3Boolean *e, fmi3Float64 *f)
FMU_REFUSES(fmi3SetTime, fmi3Float64 t)
FMU_REFUSES(fmi3SetContinuousStates, const fmi3Float64 x[], size_t n)
FMU_REFUSES(fmi3GetContinuousStateDerivatives, fmi3Float64 x[], size_t n)
FMU_REFUSES(fmi3GetEventIndicators, fmi3Float64 x[], size_t n)
FMU_REFUSES(fmi3GetContinuousStates, fmi3Float64 x[], size_t n)
FMU_REFUSES(fmi3GetNominalsOfContinuousStates, fmi3Float64 x[], size_t n)
FMU_REFUSES(fmi3GetNumberOfEventIndicators, size_t *n)
FMU_REFUSES(fmi3GetNumberOfContinuousStates, size_t *n)
FMU_REFUSES(fmi3CompletedIntegratorStep, fmi3Boolean a, fmi3Boolean *b, fmi3Boolean *c)
FMU_REFUSES(fmi3ActivateModelPartition, fmi3ValueReference r, fmi3Float64 t)

#define FMU_MODE(NAME) \
    FMU_EXPORT fmi3Status NAME(fmi3Instance i) { \
        (void)i; \
        return fmi3Error; \
    }
FMU_MODE(fmi3EnterConfigurationMode)
FMU_MODE(fmi3ExitConfigurationMode)
FMU_MODE(fmi3EnterEventMode)
FMU_MODE(fmi3EnterStepMode)
FMU_MODE(fmi3EvaluateDiscreteStates)
FMU_MODE(fmi3EnterContinuousTimeMode)
