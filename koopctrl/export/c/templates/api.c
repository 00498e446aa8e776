
/* The interface that all predictive controllers share. Each of them brings
 *     kc_read       what is known of the state at this sample; tells whether that is enough to plan on,
 *     kc_find_plan  a new plan in s->plan, and whether there is one; if not, perhaps an LQR's input,
 *     kc_recover    what an absurd measurement has spoilt is forgotten, where no plan was found,
 *     kc_forget     its own part of the reset,
 *     kc_retuned    what other weights and bounds make useless, where there are several sets of them. */

/* What is known before anything is measured: disturbances from now on, a missing one as the one before it, and the
 * inputs that acted since the last sample. */
static void kc_hear(NAME_state *s, const double *told, int n_told_rows) {
#if KC_N_TOLD > 0
    double last[KC_N_TOLD];
    int i, k;
    for (i = 0; i < KC_N_TOLD; i++) last[i] = s->has_told ? s->told[i] : kc_told_op[i];
    for (k = 0; k < KC_HORIZON + KC_DELAY; k++)
        for (i = 0; i < KC_N_TOLD; i++) {
            const double *before = k > 0 ? s->told + (k - 1) * KC_N_TOLD : last;
            double value = n_told_rows > 0 ? told[(k < n_told_rows ? k : n_told_rows - 1) * KC_N_TOLD + i] : NAN;
            s->told[k * KC_N_TOLD + i] = isfinite(value) ? value : before[i];
        }
    kc_join(s->line, s->has_told ? last : s->told, s->acted);
    s->has_told = 1;
#else
    (void)told;
    (void)n_told_rows;
    kc_join(s->line, 0, s->acted);
#endif
}

/* One sample; see the header. */
int NAME_step(NAME_state *s, const NAME_request *request, double *u_out, NAME_info *info) {
    NAME_info local;
    kc_asked asked;
    double lqr[KC_N_U];
    int i;
    if (info == 0) info = &local;
    info->status = NAME_OPTIMAL;
    info->reason = NAME_REASON_NONE;
    info->iterations = 0;
    info->kkt_residual = NAN;
    info->slack = 0.0;
    for (i = 0; i < KC_N_U; i++) lqr[i] = NAN;
    asked.preview = request->reference != 0 && request->n_reference_rows > 0;
    asked.n_rows = asked.preview ? request->n_reference_rows : 1;
    if (asked.n_rows > KC_HORIZON + 1 + KC_DELAY) asked.n_rows = KC_HORIZON + 1 + KC_DELAY;
    asked.reference = request->reference != 0 ? request->reference : kc_default_reference;
    asked.input = request->input_reference;
    asked.n_input_rows = asked.input != 0 && request->n_input_rows > 0 ? request->n_input_rows : 0;
    if (asked.n_input_rows > KC_HORIZON) asked.n_input_rows = KC_HORIZON;
    kc_hear(s, request->disturbance, request->disturbance != 0 ? request->n_disturbance_rows : 0);
    if (!kc_read(s, request->measurement)) {
        info->reason = NAME_REASON_MEASUREMENT;
    } else if (!kc_all_given(asked.n_rows * KC_N_Y, asked.reference) ||
               (asked.input != 0 && !kc_all_finite((asked.n_input_rows > 0 ? asked.n_input_rows : 1) * KC_N_U, asked.input))) {
        info->reason = NAME_REASON_REFERENCE;
    }
    info->rejected = s->rejected;
    info->n_rejected = s->n_rejected;
    if (info->reason != NAME_REASON_NONE) {
        info->status = kc_fall_back(s, lqr, u_out);
    } else if (kc_find_plan(s, &asked, lqr, info)) {
        kc_accept(s, u_out);
    } else {
        kc_recover(s, request->measurement);
        info->slack = 0.0;
        info->status = kc_fall_back(s, lqr, u_out);
    }
    return info->status;
}

int NAME_control(NAME_state *s, const double *measurement, const double *reference, double *u_out, NAME_info *info) {
    NAME_request request = {0, 0, 0, 0, 0, 0, 0};
    request.measurement = measurement;
    request.reference = reference;
    return NAME_step(s, &request, u_out, info);
}

int NAME_control_preview(NAME_state *s, const double *measurement, const double *references, int n_rows,
                         double *u_out, NAME_info *info) {
    NAME_request request = {0, 0, 0, 0, 0, 0, 0};
    request.measurement = measurement;
    if (n_rows > 0) {
        request.reference = references;
        request.n_reference_rows = n_rows;
    }
    return NAME_step(s, &request, u_out, info);
}

#if KC_N_TOLD > 0
int NAME_control_told(NAME_state *s, const double *measurement, const double *reference, int n_rows, int preview,
                      const double *disturbance, int n_disturbance_rows, double *u_out, NAME_info *info) {
    NAME_request request = {0, 0, 0, 0, 0, 0, 0};
    request.measurement = measurement;
    if (n_rows > 0) {
        request.reference = reference;
        request.n_reference_rows = preview ? n_rows : 0;
    }
    request.disturbance = disturbance;
    request.n_disturbance_rows = n_disturbance_rows;
    return NAME_step(s, &request, u_out, info);
}
#endif

#if KC_N_TUNINGS > 1
int NAME_retune(NAME_state *s, int tuning) {
    if (tuning < 0 || tuning >= KC_N_TUNINGS) return 0;
    if (tuning == s->tuning) return 1;
    s->tuning = tuning;
    s->hard_k = s->soft_k = -1;
    kc_retuned(s);
    return 1;
}
#endif

void NAME_reset(NAME_state *s) {
    int i;
#if KC_N_MASKS * KC_N_TUNINGS > 1
    s->set = 0;
#endif
#if KC_N_TUNINGS > 1
    s->tuning = 0;
#endif
#if KC_MIXES
    s->mixed = 0;
#endif
    for (i = 0; i < (KC_DELAY + 1) * KC_N_U; i++) s->line[i] = kc_u_op[i % KC_N_U];
    s->has_input = 0;
    s->has_told = 0;
    s->started = 0;
    s->age = 0;
    s->hard_k = -1;
    s->hard_changes = 0;
    s->soft_k = -1;
    s->soft_changes = 0;
    s->rejected = 0;
    s->n_rejected = 0;
    kc_forget(s);
}

void NAME_applied(NAME_state *s, const double *u) {
    int i;
    if (!kc_all_finite(KC_N_U, u)) return;
    /* Before the first input was sent it is the one that was held so far. */
    for (i = s->has_input ? KC_DELAY * KC_N_U : 0; i < (KC_DELAY + 1) * KC_N_U; i++) s->line[i] = u[i % KC_N_U];
    s->has_input = 1;
}

const double *NAME_plan(const NAME_state *s) { return s->age > 0 ? s->plan : 0; }
