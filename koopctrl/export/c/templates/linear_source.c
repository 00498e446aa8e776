/* From measurements to features p: by lifting them, or by a window of past ones. */

#if KC_USES_WINDOW
/* The window moves on by one sample; a missing one is replaced by the model's prediction, so that later windows are
 * complete. */
static void kc_advance_window(NAME_state *s, const double *y, int measured) {
    double *x = s->x;
    double newest[KC_N_MEASURED];
    int i, keep = (KC_OUTPUT_LAGS - 1) * KC_N_MEASURED, end = KC_OUTPUT_LAGS * KC_N_MEASURED;
    if (!measured) {
        kc_features(x, s->p);
        for (i = 0; i < KC_N_MEASURED; i++) {
            int j;
            newest[i] = kc_step_constant[i] + kc_dot(KC_N_RAW, kc_step_p + i * KC_N_RAW, s->p);
            for (j = 0; j < KC_N_IN; j++) newest[i] += kc_step_u[i * KC_N_IN + j] * (s->acted[j] - kc_in_op[j]);
#if KC_BILINEAR
            for (j = 0; j < KC_N_IN; j++) {
                int row = j * KC_N_MEASURED + i;
                newest[i] += (s->acted[j] - kc_in_op[j]) *
                             (kc_step_pu_constant[row] + kc_dot(KC_N_RAW, kc_step_pu + row * KC_N_RAW, s->p));
            }
#endif
        }
    } else {
        for (i = 0; i < KC_N_MEASURED; i++) newest[i] = y[i];
    }
    for (i = keep - 1; i >= 0; i--) x[i + KC_N_MEASURED] = x[i];
    for (i = 0; i < KC_N_MEASURED; i++) x[i] = newest[i];
    for (i = KC_N_X - 1; i >= end + KC_N_IN; i--) x[i] = x[i - KC_N_IN];
    for (i = 0; i < KC_N_IN && end + i < KC_N_X; i++) x[end + i] = s->acted[i];
}
#endif

#if KC_OFFSET_FREE
/* The disturbance that explains the step from the last sample to this one, averaged; it stands after the features. */
static void kc_explain(NAME_state *s, int has_features) {
    double *d = s->p + KC_N_RAW;
    int i, j;
    if (!has_features) {
        s->has_z = 0;
        return;
    }
    kc_deviate(KC_N_Z, KC_N_RAW, kc_basis, s->p, s->next);
    if (!s->has_d)
        for (i = 0; i < KC_N_D; i++) d[i] = 0.0;
    s->has_d = 1;
    if (s->has_z && s->has_input) {
        for (i = 0; i < KC_N_Z; i++) {
            double rest = s->next[i] - kc_c[i] - kc_dot(KC_N_Z, kc_A + i * KC_N_Z, s->z);
            double size = fabs(s->next[i]) + fabs(kc_c[i]);
            for (j = 0; j < KC_N_Z; j++) size += fabs(kc_A[i * KC_N_Z + j] * s->z[j]);
            for (j = 0; j < KC_N_IN; j++) {
                double push = kc_B[i * KC_N_IN + j] * (s->acted[j] - kc_in_op[j]);
                rest -= push;
                size += fabs(push);
            }
            s->rest[i] = rest;
            s->all_acted[i] = size;
        }
        for (i = 0; i < KC_N_D; i++) {
#if KC_EXPLAINS
            double made = kc_dot(KC_N_Z, kc_explain_d + i * KC_N_Z, s->rest), size = 0.0;
            for (j = 0; j < KC_N_Z; j++) size += fabs(kc_explain_d[i * KC_N_Z + j]) * s->all_acted[j];
#else
            double made = s->rest[i], size = s->all_acted[i];
#endif
            /* Beyond all that has acted in this step it comes from an absurd measurement: it is begun anew. */
            d[i] = fabs(d[i]) <= KC_ABSURD * size ? d[i] + kc_filter[i] * (made - d[i]) : made;
        }
    }
    for (i = 0; i < KC_N_Z; i++) s->z[i] = s->next[i];
    s->has_z = 1;
}
#endif

/* Disturbances recover by themselves. */
static void kc_recover(NAME_state *s, const double *y) {
    (void)s;
    (void)y;
}

/* Features of the state at this sample; tells whether there are any. */
static int kc_read(NAME_state *s, const double *y) {
    int measured = kc_all_finite(KC_N_MEASURED, y);
#if KC_USES_WINDOW
    if (!measured && !s->started) return 0;
    if (!s->started || !s->has_input)
        kc_fill_window(y, s->x);
    else
        kc_advance_window(s, y, measured);
    s->started = 1;
    if (!kc_all_finite(KC_N_X, s->x)) s->started = 0; /* the prediction ran away: wait for a measurement */
    if (measured) kc_features(s->x, s->p);
#else
    if (measured) kc_features(y, s->p);
#endif
#if KC_OFFSET_FREE
    kc_explain(s, measured);
#endif
    return measured;
}
