/* From measurements to features p: by lifting them, by a window of past ones, or by a Kalman filter. */

#if KC_LIFTS
/* y = matrix (p - p_op). The features' deviations are small where the features are not: taking them first keeps the
 * digits that a constant -matrix p_op would cancel. */
static void kc_deviate(int rows, int columns, const double *matrix, const double *p, double *y) {
    int i, j;
    for (i = 0; i < rows; i++) {
        y[i] = 0.0;
        for (j = 0; j < columns; j++) y[i] += matrix[i * columns + j] * (p[j] - kc_p_op[j]);
    }
}
#endif

#if !KC_OBSERVER || KC_OBSERVER_LIFTS
/* p = [x - x_op; psi(x)] */
static void kc_features(const double *x, double *p) {
    int i;
    for (i = 0; i < KC_N_X; i++) p[i] = x[i] - kc_x_op[i];
#if KC_N_FEATURES > 0
    for (i = 0; i < KC_N_FEATURES; i++) {
        double pre = kc_dot(KC_N_X, kc_weights + i * KC_N_X, x) + kc_biases[i];
        p[KC_N_X + i] = KC_TANH ? tanh(pre) : fmax(pre, 0.0);
    }
#endif
}
#endif

#if KC_OBSERVER
/* Steady-state Kalman filter of state and disturbances: predict with the input held since the last call, correct
 * unless y has NaN. */
static void kc_observe(NAME_state *s, const double *y, int measured) {
    double *z = s->p;
    int i, j;
    if (s->has_input) {
        for (i = 0; i < KC_N_P; i++) {
            double next = kc_c[i] + (s->started ? kc_dot(KC_N_P, kc_A + i * KC_N_P, z) : 0.0);
            for (j = 0; j < KC_N_U; j++) next += kc_B[i * KC_N_U + j] * (s->u_last[j] - kc_u_op[j]);
            s->next[i] = next;
        }
        for (i = 0; i < KC_N_P; i++) z[i] = s->next[i];
        s->started = 1;
    }
    if (!s->started) {
        for (i = 0; i < KC_N_P; i++) z[i] = 0.0;
#if KC_OBSERVER_LIFTS
        if (measured) {
            kc_fill_window(y, s->x);
            kc_features(s->x, s->raw);
            kc_deviate(KC_N_Z, KC_N_X + KC_N_FEATURES, kc_basis, s->raw, z);
        }
#endif
        s->started = 1;
    }
    if (!measured) return;
    for (i = 0; i < KC_N_Y; i++) s->innovation[i] = y[i] - kc_y_op[i] - kc_dot(KC_N_P, kc_C + i * KC_N_P, z);
    for (i = 0; i < KC_N_P; i++) z[i] += kc_dot(KC_N_Y, kc_M + i * KC_N_Y, s->innovation);
}
#elif KC_USES_WINDOW
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
            for (j = 0; j < KC_N_U; j++) newest[i] += kc_step_u[i * KC_N_U + j] * (s->u_last[j] - kc_u_op[j]);
#if KC_BILINEAR
            for (j = 0; j < KC_N_U; j++) {
                int row = j * KC_N_MEASURED + i;
                newest[i] += (s->u_last[j] - kc_u_op[j]) *
                             (kc_step_pu_constant[row] + kc_dot(KC_N_RAW, kc_step_pu + row * KC_N_RAW, s->p));
            }
#endif
        }
    } else {
        for (i = 0; i < KC_N_MEASURED; i++) newest[i] = y[i];
    }
    for (i = keep - 1; i >= 0; i--) x[i + KC_N_MEASURED] = x[i];
    for (i = 0; i < KC_N_MEASURED; i++) x[i] = newest[i];
    for (i = KC_N_X - 1; i >= end + KC_N_U; i--) x[i] = x[i - KC_N_U];
    for (i = 0; i < KC_N_U && end + i < KC_N_X; i++) x[end + i] = s->u_last[i];
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
            for (j = 0; j < KC_N_U; j++) rest -= kc_B[i * KC_N_U + j] * (s->u_last[j] - kc_u_op[j]);
            s->rest[i] = rest;
        }
        for (i = 0; i < KC_N_D; i++) {
#if KC_EXPLAINS
            double made = kc_dot(KC_N_Z, kc_explain_d + i * KC_N_Z, s->rest);
#else
            double made = s->rest[i];
#endif
            d[i] += kc_filter[0] * (made - d[i]);
        }
    }
    for (i = 0; i < KC_N_Z; i++) s->z[i] = s->next[i];
    s->has_z = 1;
}
#endif

/* Features of the state at this sample; tells whether there are any. */
static int kc_read(NAME_state *s, const double *y) {
    int measured = kc_all_finite(KC_N_MEASURED, y);
#if KC_OBSERVER
    kc_observe(s, y, measured);
    measured = 1;
#elif KC_USES_WINDOW
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
