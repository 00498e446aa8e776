/* FMI 2.0, co-simulation: types and functions as the standard (https://fmi-standard.org/downloads) declares them. */

#if defined(_WIN32)
#define FMU_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define FMU_EXPORT __attribute__((visibility("default")))
#else
#define FMU_EXPORT
#endif

typedef void *fmi2Component;
typedef void *fmi2ComponentEnvironment;
typedef void *fmi2FMUstate;
typedef unsigned int fmi2ValueReference;
typedef double fmi2Real;
typedef int fmi2Integer;
typedef int fmi2Boolean;
typedef char fmi2Char;
typedef const fmi2Char *fmi2String;
typedef char fmi2Byte;
typedef enum { fmi2OK, fmi2Warning, fmi2Discard, fmi2Error, fmi2Fatal, fmi2Pending } fmi2Status;
typedef enum { fmi2ModelExchange, fmi2CoSimulation } fmi2Type;
typedef enum { fmi2DoStepStatus, fmi2PendingStatus, fmi2LastSuccessfulTime, fmi2Terminated } fmi2StatusKind;
typedef struct {
    void (*logger)(fmi2ComponentEnvironment, fmi2String, fmi2Status, fmi2String, fmi2String, ...);
    void *(*allocateMemory)(size_t, size_t);
    void (*freeMemory)(void *);
    void (*stepFinished)(fmi2ComponentEnvironment, fmi2Status);
    fmi2ComponentEnvironment componentEnvironment;
} fmi2CallbackFunctions;

typedef struct {
    component c;
    const fmi2CallbackFunctions *callbacks;
    char name[128];
} instance2;

static void say2(void *environment, const char *text) {
    const instance2 *m = environment;
    if (m->callbacks != 0 && m->callbacks->logger != 0)
        m->callbacks->logger(m->callbacks->componentEnvironment, m->name, fmi2Error, "logStatusError", "%s", text);
}

FMU_EXPORT const char *fmi2GetTypesPlatform(void) { return "default"; }
FMU_EXPORT const char *fmi2GetVersion(void) { return "2.0"; }

FMU_EXPORT fmi2Status fmi2SetDebugLogging(fmi2Component i, fmi2Boolean on, size_t n, const fmi2String categories[]) {
    (void)i, (void)on, (void)n, (void)categories;
    return fmi2OK;
}

FMU_EXPORT fmi2Component fmi2Instantiate(fmi2String name, fmi2Type type, fmi2String guid, fmi2String resources,
                                         const fmi2CallbackFunctions *callbacks, fmi2Boolean visible, fmi2Boolean logging) {
    instance2 *m;
    (void)resources, (void)visible, (void)logging;
    if (type != fmi2CoSimulation || guid == 0 || strcmp(guid, FMU_TOKEN) != 0) {
        if (callbacks != 0 && callbacks->logger != 0)
            callbacks->logger(callbacks->componentEnvironment, name, fmi2Error, "logStatusError",
                              "this FMU is for co-simulation, and the GUID has to be its own");
        return 0;
    }
    m = calloc(1, sizeof *m);
    if (m == 0) return 0;
    m->callbacks = callbacks;
    if (name != 0) strncpy(m->name, name, sizeof m->name - 1);
    m->c.log = say2;
    m->c.environment = m;
    component_reset(&m->c);
    return m;
}

FMU_EXPORT void fmi2FreeInstance(fmi2Component i) { free(i); }

FMU_EXPORT fmi2Status fmi2SetupExperiment(fmi2Component i, fmi2Boolean has_tolerance, fmi2Real tolerance, fmi2Real start,
                                          fmi2Boolean has_stop, fmi2Real stop) {
    component *c = &((instance2 *)i)->c;
    (void)has_tolerance, (void)tolerance, (void)has_stop, (void)stop;
    c->now.start = c->now.real[0] = start;
    return fmi2OK;
}

FMU_EXPORT fmi2Status fmi2EnterInitializationMode(fmi2Component i) {
    (void)i;
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2ExitInitializationMode(fmi2Component i) {
    component_initialise(&((instance2 *)i)->c);
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2Terminate(fmi2Component i) {
    (void)i;
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2Reset(fmi2Component i) {
    component_reset(&((instance2 *)i)->c);
    return fmi2OK;
}

FMU_EXPORT fmi2Status fmi2DoStep(fmi2Component i, fmi2Real time, fmi2Real step, fmi2Boolean no_return) {
    (void)no_return;
    return component_advance(&((instance2 *)i)->c, time, step) ? fmi2OK : fmi2Error;
}
FMU_EXPORT fmi2Status fmi2CancelStep(fmi2Component i) {
    (void)i;
    return fmi2Error;
}

FMU_EXPORT fmi2Status fmi2GetReal(fmi2Component i, const fmi2ValueReference r[], size_t n, fmi2Real values[]) {
    component *c = &((instance2 *)i)->c;
    size_t k;
    if (!component_ready(c, r, n, 0)) return fmi2Error;
    for (k = 0; k < n; k++) values[k] = c->now.real[r[k]];
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2SetReal(fmi2Component i, const fmi2ValueReference r[], size_t n, const fmi2Real values[]) {
    component *c = &((instance2 *)i)->c;
    size_t k;
    if (!component_may_set(c, r, n, 0)) return fmi2Error;
    for (k = 0; k < n; k++) c->now.real[r[k]] = values[k];
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2GetInteger(fmi2Component i, const fmi2ValueReference r[], size_t n, fmi2Integer values[]) {
    component *c = &((instance2 *)i)->c;
    size_t k;
    if (!component_ready(c, r, n, 1)) return fmi2Error;
    for (k = 0; k < n; k++) values[k] = c->now.whole[r[k] - FMU_N_REAL];
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2SetInteger(fmi2Component i, const fmi2ValueReference r[], size_t n, const fmi2Integer values[]) {
    component *c = &((instance2 *)i)->c;
    size_t k;
    if (!component_may_set(c, r, n, 1)) return fmi2Error;
    for (k = 0; k < n; k++) {
        if (values[k] < 0 || values[k] >= FMU_TUNED) {
            component_say(c, "there is no such tuning");
            return fmi2Error;
        }
        c->now.whole[r[k] - FMU_N_REAL] = values[k];
    }
    return fmi2OK;
}

/* There are no variables of other types. */
#define FMU_NONE(TYPE) \
    FMU_EXPORT fmi2Status fmi2Get##TYPE(fmi2Component i, const fmi2ValueReference r[], size_t n, fmi2##TYPE v[]) { \
        (void)i, (void)r, (void)v; \
        return n == 0 ? fmi2OK : fmi2Error; \
    } \
    FMU_EXPORT fmi2Status fmi2Set##TYPE(fmi2Component i, const fmi2ValueReference r[], size_t n, const fmi2##TYPE v[]) { \
        (void)i, (void)r, (void)v; \
        return n == 0 ? fmi2OK : fmi2Error; \
    }
FMU_NONE(Boolean)
FMU_NONE(String)

FMU_EXPORT fmi2Status fmi2GetFMUstate(fmi2Component i, fmi2FMUstate *state) {
    if (*state == 0) *state = malloc(sizeof(component_state));
    if (*state == 0) return fmi2Error;
    memcpy(*state, &((instance2 *)i)->c.now, sizeof(component_state));
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2SetFMUstate(fmi2Component i, fmi2FMUstate state) {
    memcpy(&((instance2 *)i)->c.now, state, sizeof(component_state));
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2FreeFMUstate(fmi2Component i, fmi2FMUstate *state) {
    (void)i;
    free(*state);
    *state = 0;
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2SerializedFMUstateSize(fmi2Component i, fmi2FMUstate state, size_t *size) {
    (void)i, (void)state;
    *size = sizeof(component_state);
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2SerializeFMUstate(fmi2Component i, fmi2FMUstate state, fmi2Byte bytes[], size_t size) {
    (void)i;
    if (size < sizeof(component_state)) return fmi2Error;
    memcpy(bytes, state, sizeof(component_state));
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2DeSerializeFMUstate(fmi2Component i, const fmi2Byte bytes[], size_t size, fmi2FMUstate *state) {
    (void)i;
    if (size != sizeof(component_state)) return fmi2Error;
    if (*state == 0) *state = malloc(size);
    if (*state == 0) return fmi2Error;
    memcpy(*state, bytes, size);
    return fmi2OK;
}

/* What this component has no part in: derivatives, and steps that are not over when doStep returns. */
FMU_EXPORT fmi2Status fmi2GetDirectionalDerivative(fmi2Component i, const fmi2ValueReference u[], size_t nu,
                                                   const fmi2ValueReference k[], size_t nk, const fmi2Real s[], fmi2Real v[]) {
    (void)i, (void)u, (void)nu, (void)k, (void)nk, (void)s, (void)v;
    return fmi2Error;
}
FMU_EXPORT fmi2Status fmi2SetRealInputDerivatives(fmi2Component i, const fmi2ValueReference r[], size_t n,
                                                  const fmi2Integer o[], const fmi2Real v[]) {
    (void)i, (void)r, (void)n, (void)o, (void)v;
    return fmi2Error;
}
FMU_EXPORT fmi2Status fmi2GetRealOutputDerivatives(fmi2Component i, const fmi2ValueReference r[], size_t n,
                                                   const fmi2Integer o[], fmi2Real v[]) {
    (void)i, (void)r, (void)n, (void)o, (void)v;
    return fmi2Error;
}
FMU_EXPORT fmi2Status fmi2GetStatus(fmi2Component i, fmi2StatusKind k, fmi2Status *v) {
    (void)i, (void)k, (void)v;
    return fmi2Discard;
}
FMU_EXPORT fmi2Status fmi2GetRealStatus(fmi2Component i, fmi2StatusKind k, fmi2Real *v) {
    if (k != fmi2LastSuccessfulTime) return fmi2Discard;
    *v = ((instance2 *)i)->c.now.real[0];
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2GetIntegerStatus(fmi2Component i, fmi2StatusKind k, fmi2Integer *v) {
    (void)i, (void)k, (void)v;
    return fmi2Discard;
}
FMU_EXPORT fmi2Status fmi2GetBooleanStatus(fmi2Component i, fmi2StatusKind k, fmi2Boolean *v) {
    (void)i;
    if (k != fmi2Terminated) return fmi2Discard;
    *v = 0;
    return fmi2OK;
}
FMU_EXPORT fmi2Status fmi2GetStringStatus(fmi2Component i, fmi2StatusKind k, fmi2String *v) {
    (void)i, (void)k, (void)v;
    return fmi2Discard;
}
