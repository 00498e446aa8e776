/* Kalman filter of state and disturbances, with the steady gain or a time-varying one: see
 * koopctrl.controllers.estimation.kalman. Predict with the input held since the last call, correct by what was measured.
 * What it holds is the state, or, for a moving-horizon estimator, what is bounded at past samples beside it. */

#if KC_STEADY
/* Correct by what was measured: with the steady gain, or, for a part of the signals, with the one that the steady
 * covariance gives these. */
static void kc_correct(NAME_state *s, const double *y, int m, const int *here, int judged) {
    double S[KC_N_MEASURED * KC_N_MEASURED] = {0.0}, L[KC_N_MEASURED * KC_N_MEASURED] = {0.0};
    double Linv[KC_N_MEASURED * KC_N_MEASURED] = {0.0}, whitened[KC_N_MEASURED] = {0.0};
    int i, j;
    if (m == 0) return;
    for (i = 0; i < m; i++)
        s->innovation[i] = y[here[i]] - kc_measured_op[here[i]] - kc_dot(KC_N_STATE, kc_C + here[i] * KC_N_STATE, s->KC_MEMORY);
    if (KC_GATED || m < KC_N_MEASURED) {
        for (i = 0; i < m; i++)
            for (j = 0; j < m; j++) S[i * m + j] = kc_innovation_P[here[i] * KC_N_MEASURED + here[j]];
        if (!kc_factor(m, S, L, Linv)) return; /* a positive definite matrix of the controller's: it has factors */
        for (i = 0; i < m; i++) whitened[i] = kc_dot(i + 1, Linv + i * m, s->innovation);
    }
#if KC_GATED
    if (judged && kc_reject(s, m, whitened)) return;
#endif
    (void)judged;
    if (m == KC_N_MEASURED) {
        for (i = 0; i < KC_N_MEMORY; i++) s->KC_MEMORY[i] += kc_dot(m, kc_M + i * m, s->innovation);
        return;
    }
    for (i = 0; i < m; i++) {
        double pull = 0.0;
        for (j = i; j < m; j++) pull += Linv[j * m + i] * whitened[j];
        kc_axpy(KC_N_MEMORY, pull, kc_seen_P + here[i] * KC_N_MEMORY, s->KC_MEMORY);
    }
}
#else
/* P = A P A' + Q */
static void kc_spread(NAME_state *s) {
    int i, j, n = KC_N_MEMORY;
    double *P = s->covariance, *W = s->product;
    for (i = 0; i < n; i++) {
        for (j = 0; j < n; j++) W[i * n + j] = 0.0;
        for (j = 0; j < n; j++) kc_axpy(n, kc_A[i * n + j], P + j * n, W + i * n);
    }
    for (i = 0; i < n; i++)
        for (j = 0; j <= i; j++)
            P[i * n + j] = P[j * n + i] = kc_dot(n, W + i * n, kc_A + j * n) + kc_noise[i * n + j];
}
#endif

#if KC_OBSERVER_LIFTS
/* The estimate in which early signals stand where they are measured, all lags of those measured for the first time
 * filled as of a plant at rest; the rest as it was, or at the operating point. */
static void kc_begin_signals(NAME_state *s, const double *y, int n_early, const int *early) {
    double *x = s->x;
    int i, j;
    if (s->started) {
        for (i = 0; i < KC_N_X; i++) x[i] = kc_x_op[i] + kc_x_scale[i] * s->KC_MEMORY[i];
    } else {
        for (i = 0; i < KC_OUTPUT_LAGS * KC_N_Y; i++) x[i] = kc_x_op[i % KC_N_Y];
        for (; i < KC_N_X; i++) x[i] = kc_in_op[(i - KC_OUTPUT_LAGS * KC_N_Y) % KC_N_IN];
    }
    for (j = 0; j < n_early; j++) {
        int k = early[j];
        for (i = 0; i < (s->measured_before[k] ? 1 : KC_OUTPUT_LAGS); i++) x[i * KC_N_Y + kc_channel[k]] = y[k];
    }
    kc_features(x, s->raw);
    kc_deviate(KC_N_Z, KC_N_X + KC_N_FEATURES, kc_basis, s->raw, s->KC_MEMORY);
#if KC_N_LAGGED > 0
    kc_at_rest(s);
#endif
}
#endif

/* Estimate at this sample; there is none until something has been measured. */
static int KC_READ(NAME_state *s, const double *y) {
    double *z = s->KC_MEMORY;
    int here[KC_N_MEASURED], early[KC_N_MEASURED], n_here = 0, n_early = 0, level = 2, i, j;
    if (!s->started)
        for (i = 0; i < KC_N_MEASURED; i++) s->measured_before[i] = 0;
    for (i = 0; i < KC_N_MEASURED; i++) {
        if (!isfinite(y[i])) {
            if (!s->measured_before[i]) level = 1; /* what is known of the others rests on a guess of this one */
            continue;
        }
        if (s->measured_before[i] < 2) early[n_early++] = i;
        here[n_here++] = i;
    }
#if KC_GATED
    s->rejected = 0;
    if (!s->started) s->in_a_row = 0;
#endif
    if (!s->started) {
        for (i = 0; i < KC_N_MEMORY; i++) z[i] = 0.0;
#if !KC_STEADY
        for (i = 0; i < KC_N_MEMORY * KC_N_MEMORY; i++) s->covariance[i] = kc_P0[i];
#endif
        if (n_here == 0) return 0;
    }
    if (s->has_input && s->started) {
        for (i = 0; i < KC_N_STATE; i++) {
            double next = kc_c[i] + kc_dot(KC_N_STATE, kc_A + i * KC_N_STATE, z);
            for (j = 0; j < KC_N_IN; j++) next += kc_B[i * KC_N_IN + j] * (s->acted[j] - kc_in_op[j]);
            s->next[i] = next;
        }
#if KC_N_LAGGED > 0 && KC_STEADY
        kc_push(s);
#endif
        for (i = 0; i < KC_N_STATE; i++) z[i] = s->next[i];
#if !KC_STEADY
        kc_spread(s);
#endif
    }
#if KC_OBSERVER_LIFTS
    if (n_early > 0) kc_begin_signals(s, y, n_early, early);
#endif
    for (i = 0; i < n_early; i++) s->measured_before[early[i]] = level;
    s->started = 1;
    kc_correct(s, y, n_here, here, 1);
    return 1;
}

#if !KC_ALONE
/* Begin anew where the estimate's outputs are far beyond the newest measurement. */
static void kc_recover(NAME_state *s, const double *y) {
    int i;
    for (i = 0; i < KC_N_MEASURED; i++) {
        double size = kc_innovation_size[i] + (isfinite(y[i]) ? fabs(y[i] - kc_measured_op[i]) : 0.0);
        if (!(fabs(kc_dot(KC_N_STATE, kc_C + i * KC_N_STATE, s->KC_MEMORY)) <= KC_ABSURD * KC_ABSURD * size)) s->started = 0;
    }
}
#endif
