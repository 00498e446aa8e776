/* Kalman filter of state and disturbances, with the steady gain or a time-varying one: see
 * koopctrl.controllers.estimation.kalman. Predict with the input held since the last call, correct by what was measured. */

#include <limits.h>

#if KC_GATED
/* Whether an innovation, whitened, is too far away to be believed. So many in a row are rejected; after them it is
 * the estimate that is wrong. What is not a number is too far as well. */
static int kc_reject(NAME_state *s, int n, const double *whitened) {
    if (sqrt(kc_dot(n, whitened, whitened) / n) <= kc_gate[0]) {
        s->in_a_row = 0;
        return 0;
    }
    if (s->in_a_row >= KC_MAX_REJECTIONS) return 0;
    s->in_a_row++;
    s->rejected = 1;
    if (s->n_rejected < INT_MAX) s->n_rejected++;
    return 1;
}
#endif

#if KC_STEADY
static void kc_correct(NAME_state *s, const double *y, int n_here, const int *here) {
    int i;
    if (n_here < KC_N_Y) return;
    (void)here;
    for (i = 0; i < KC_N_Y; i++) s->innovation[i] = y[i] - kc_y_op[i] - kc_dot(KC_N_P, kc_C + i * KC_N_P, s->p);
#if KC_GATED
    {
        double whitened[KC_N_Y];
        for (i = 0; i < KC_N_Y; i++) whitened[i] = kc_dot(i + 1, kc_whiten + i * KC_N_Y, s->innovation);
        if (kc_reject(s, KC_N_Y, whitened)) return;
    }
#endif
    for (i = 0; i < KC_N_P; i++) s->p[i] += kc_dot(KC_N_Y, kc_M + i * KC_N_Y, s->innovation);
}
#else
/* P = A P A' + Q */
static void kc_spread(NAME_state *s) {
    int i, j, n = KC_N_P;
    double *P = s->covariance, *W = s->product;
    for (i = 0; i < n; i++) {
        for (j = 0; j < n; j++) W[i * n + j] = 0.0;
        for (j = 0; j < n; j++) kc_axpy(n, kc_A[i * n + j], P + j * n, W + i * n);
    }
    for (i = 0; i < n; i++)
        for (j = 0; j <= i; j++)
            P[i * n + j] = P[j * n + i] = kc_dot(n, W + i * n, kc_A + j * n) + kc_noise[i * n + j];
}

/* Gain and covariance from those outputs that were measured. With V = C P, S = V C' + R and G = V' S^-1 it is
 * Joseph's form, (I - G C) P (I - G C)' + G R G', one factor at a time: positive whatever rounding does to G. */
static void kc_correct(NAME_state *s, const double *y, int n_here, const int *here) {
    double S[KC_N_Y * KC_N_Y], L[KC_N_Y * KC_N_Y], Linv[KC_N_Y * KC_N_Y], whitened[KC_N_Y];
    double *P = s->covariance, *W = s->product, *V = s->seen, *G = s->gain;
    int i, j, k, n = KC_N_P, m = n_here;
    if (m == 0) return;
    for (i = 0; i < m; i++) {
        const double *row = kc_C + here[i] * n;
        for (j = 0; j < n; j++) V[i * n + j] = kc_dot(n, row, P + j * n);
        for (j = 0; j < m; j++)
            S[i * m + j] = kc_dot(n, V + i * n, kc_C + here[j] * n) + kc_R_noise[here[i] * KC_N_Y + here[j]];
        s->innovation[i] = y[here[i]] - kc_y_op[here[i]] - kc_dot(n, row, s->p);
    }
    if (!kc_factor(m, S, L, Linv)) { /* only where numbers have overflowed */
        s->started = 0;
        return;
    }
    for (i = 0; i < m; i++) whitened[i] = kc_dot(i + 1, Linv + i * m, s->innovation);
#if KC_GATED
    if (kc_reject(s, m, whitened)) return;
#endif
    for (i = 0; i < n; i++) {
        double *gain = G + i * m, *row = W + i * n, half[KC_N_Y];
        for (k = 0; k < m; k++) {
            half[k] = gain[k] = 0.0;
            for (j = 0; j <= k; j++) half[k] += Linv[k * m + j] * V[j * n + i];
        }
        for (k = 0; k < m; k++) kc_axpy(k + 1, half[k], Linv + k * m, gain);
        s->p[i] += kc_dot(m, half, whitened);
        for (j = 0; j < n; j++) row[j] = P[i * n + j];
        for (k = 0; k < m; k++) kc_axpy(n, -gain[k], V + k * n, row); /* (I - G C) P */
    }
    for (i = 0; i < n; i++) {
        double left[KC_N_Y]; /* row i of G R - (I - G C) P C' */
        for (k = 0; k < m; k++) {
            left[k] = -kc_dot(n, W + i * n, kc_C + here[k] * n);
            for (j = 0; j < m; j++) left[k] += G[i * m + j] * kc_R_noise[here[j] * KC_N_Y + here[k]];
        }
        for (j = 0; j <= i; j++)
            P[i * n + j] = P[j * n + i] = W[i * n + j] + kc_dot(m, left, G + j * m);
    }
}
#endif

/* Estimate at this sample, whatever was measured. */
static int kc_read(NAME_state *s, const double *y) {
    double *z = s->p;
    int here[KC_N_Y], n_here = 0, i, j;
    for (i = 0; i < KC_N_Y; i++)
        if (isfinite(y[i])) here[n_here++] = i;
#if KC_GATED
    s->rejected = 0;
    if (!s->started) s->in_a_row = 0;
#endif
#if !KC_STEADY
    if (!s->started)
        for (i = 0; i < KC_N_P * KC_N_P; i++) s->covariance[i] = kc_P0[i];
#endif
    if (s->has_input && s->started) {
        for (i = 0; i < KC_N_P; i++) {
            double next = kc_c[i] + kc_dot(KC_N_P, kc_A + i * KC_N_P, z);
            for (j = 0; j < KC_N_IN; j++) next += kc_B[i * KC_N_IN + j] * (s->acted[j] - kc_in_op[j]);
            s->next[i] = next;
        }
        for (i = 0; i < KC_N_P; i++) z[i] = s->next[i];
#if !KC_STEADY
        kc_spread(s);
#endif
    }
    if (!s->started) {
        for (i = 0; i < KC_N_P; i++) z[i] = 0.0;
#if KC_OBSERVER_LIFTS
        if (n_here == KC_N_Y) {
            kc_fill_window(y, s->x);
            kc_features(s->x, s->raw);
            kc_deviate(KC_N_Z, KC_N_X + KC_N_FEATURES, kc_basis, s->raw, z);
        }
#endif
        s->started = 1;
    }
    kc_correct(s, y, n_here, here);
    return 1;
}
