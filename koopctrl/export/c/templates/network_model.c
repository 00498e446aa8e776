/* A network by itself: one step, its Jacobians, and outputs. */

void NAME_step(const double *x, const double *u, double *x_next) {
    KC_REAL psi[KC_N_FEATURES > 0 ? KC_N_FEATURES : 1];
    double t[KC_N_QY], d[KC_N_Y] = {0.0};
#if KC_WIDE_NETWORK
    (void)kc_dot; /* of floats: not needed here */
    (void)kc_axpy;
#endif
    kc_step(x, u, d, psi, t, x_next);
#if KC_BOUNDED
    {
        int i;
        for (i = 0; i < KC_N_Y; i++) { /* NaN stays */
            if (x_next[i] < kc_low[i]) x_next[i] = kc_low[i];
            if (x_next[i] > kc_high[i]) x_next[i] = kc_high[i];
        }
    }
#endif
}

void NAME_jacobian(const double *x, const double *u, double *A, double *B) {
    KC_REAL psi[KC_N_FEATURES > 0 ? KC_N_FEATURES : 1];
    double t[KC_N_QY], unit_x[KC_N_X] = {0.0}, unit_u[KC_N_IN + 1] = {0.0};
    double no_y[KC_N_Y] = {0.0}, column[KC_N_X];
    int i, j;
    for (j = 0; j < KC_N_X; j++) { /* the window's shift is linear */
        unit_x[j] = 1.0;
        kc_advance(unit_x, unit_u, no_y, column);
        for (i = 0; i < KC_N_X; i++) A[i * KC_N_X + j] = column[i];
        unit_x[j] = 0.0;
    }
    for (j = 0; j < KC_N_IN; j++) {
        unit_u[j] = 1.0;
        kc_advance(unit_x, unit_u, no_y, column);
        for (i = 0; i < KC_N_X; i++) B[i * KC_N_IN + j] = column[i];
        unit_u[j] = 0.0;
    }
    kc_terms(x, u, psi, t);
    kc_jacobian(u, psi, t, A, B); /* the first rows */
#if KC_BOUNDED
    kc_step(x, u, no_y, psi, t, column);
    for (i = 0; i < KC_N_Y; i++) { /* what is held does not move */
        if (column[i] >= kc_low[i] && column[i] <= kc_high[i]) continue;
        for (j = 0; j < KC_N_X; j++) A[i * KC_N_X + j] = 0.0;
        for (j = 0; j < KC_N_IN; j++) B[i * KC_N_IN + j] = 0.0;
    }
#endif
}

#if KC_HIDDEN
void NAME_output(const double *x, const double *u, double *y) {
    int i, j;
    for (i = 0; i < KC_N_OUT; i++) {
        y[i] = kc_output_constant[i] + kc_dot(KC_N_X, kc_output_x + i * KC_N_X, x);
#if KC_N_IN > 0 && KC_FEEDTHROUGH
        y[i] += kc_dot(KC_N_IN, kc_output_u + i * KC_N_IN, u);
#endif
    }
    for (j = 0; j < KC_N_OUTPUT_FEATURES; j++) {
        double pre = kc_output_biases[j] + kc_dot(KC_N_X, kc_output_weights + j * KC_N_X, x), psi;
#if KC_N_IN > 0 && KC_FEEDTHROUGH
        pre += kc_dot(KC_N_IN, kc_output_input_weights + j * KC_N_IN, u);
#endif
        psi = KC_OUTPUT_TANH ? tanh(pre) : fmax(pre, 0.0);
        for (i = 0; i < KC_N_OUT; i++) y[i] += kc_output_psi[i * KC_N_OUTPUT_FEATURES + j] * psi;
    }
    (void)u;
}
#else
void NAME_output(const double *x, const double *u, double *y) {
    int i;
    (void)u;
    for (i = 0; i < KC_N_Y; i++) y[i] = x[i];
}
#endif
