
/* The interface that all predictive controllers share. Each of them brings
 *     kc_read       what is known of the state at this sample; tells whether that is enough to plan on,
 *     kc_find_plan  a new plan in s->plan, and whether there is one; if not, perhaps an LQR's input,
 *     kc_recover    what an absurd measurement has spoilt is forgotten, where no plan was found,
 *     kc_forget     its own part of the reset. */

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
static int kc_control(NAME_state *s, const double *measurement, const double *reference, int n_rows, int preview,
                      const double *told, int n_told_rows, double *u_out, NAME_info *info) {
    NAME_info local;
    double lqr[KC_N_U];
    int i;
    if (info == 0) info = &local;
    info->status = NAME_OPTIMAL;
    info->reason = NAME_REASON_NONE;
    info->iterations = 0;
    info->kkt_residual = NAN;
    info->slack = 0.0;
    for (i = 0; i < KC_N_U; i++) lqr[i] = NAN;
    kc_hear(s, told, n_told_rows);
    if (!kc_read(s, measurement)) info->reason = NAME_REASON_MEASUREMENT;
    else if (!kc_all_finite(n_rows * KC_N_Y, reference)) info->reason = NAME_REASON_REFERENCE;
    info->rejected = KC_GATED ? s->rejected : 0;
    info->n_rejected = KC_GATED ? s->n_rejected : 0;
    if (info->reason != NAME_REASON_NONE) {
        info->status = kc_fall_back(s, lqr, u_out);
    } else if (kc_find_plan(s, reference, n_rows, preview, lqr, info)) {
        kc_accept(s, u_out);
    } else {
        kc_recover(s, measurement);
        info->slack = 0.0;
        info->status = kc_fall_back(s, lqr, u_out);
    }
    return info->status;
}

int NAME_control(NAME_state *s, const double *measurement, const double *reference, double *u_out, NAME_info *info) {
    return kc_control(s, measurement, reference == 0 ? kc_default_reference : reference, 1, 0, 0, 0, u_out, info);
}

int NAME_control_preview(NAME_state *s, const double *measurement, const double *references, int n_rows,
                         double *u_out, NAME_info *info) {
    if (references == 0 || n_rows < 1) return NAME_control(s, measurement, 0, u_out, info);
    if (n_rows > KC_HORIZON + 1 + KC_DELAY) n_rows = KC_HORIZON + 1 + KC_DELAY;
    return kc_control(s, measurement, references, n_rows, 1, 0, 0, u_out, info);
}

#if KC_N_TOLD > 0
int NAME_control_told(NAME_state *s, const double *measurement, const double *reference, int n_rows, int preview,
                      const double *disturbance, int n_disturbance_rows, double *u_out, NAME_info *info) {
    if (reference == 0 || n_rows < 1) {
        reference = kc_default_reference;
        preview = 0;
    }
    if (!preview) n_rows = 1;
    if (n_rows > KC_HORIZON + 1 + KC_DELAY) n_rows = KC_HORIZON + 1 + KC_DELAY;
    if (disturbance == 0 || n_disturbance_rows < 0) n_disturbance_rows = 0;
    return kc_control(s, measurement, reference, n_rows, preview, disturbance, n_disturbance_rows, u_out, info);
}
#endif

void NAME_reset(NAME_state *s) {
    int i;
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
