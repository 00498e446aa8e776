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
/* Correct by what was measured: with the steady gain, or, for a part of the signals, with the one that the steady
 * covariance gives these. */
static void kc_correct(NAME_state *s, const double *y, int m, const int *here) {
    double S[KC_N_MEASURED * KC_N_MEASURED], L[KC_N_MEASURED * KC_N_MEASURED] = {0.0};
    double Linv[KC_N_MEASURED * KC_N_MEASURED] = {0.0}, whitened[KC_N_MEASURED] = {0.0};
    int i, j;
    if (m == 0) return;
    for (i = 0; i < m; i++)
        s->innovation[i] = y[here[i]] - kc_measured_op[here[i]] - kc_dot(KC_N_P, kc_C + here[i] * KC_N_P, s->p);
    if (KC_GATED || m < KC_N_MEASURED) {
        for (i = 0; i < m; i++)
            for (j = 0; j < m; j++) S[i * m + j] = kc_innovation_P[here[i] * KC_N_MEASURED + here[j]];
        if (!kc_factor(m, S, L, Linv)) return; /* a positive definite matrix of the controller's: it has factors */
        for (i = 0; i < m; i++) whitened[i] = kc_dot(i + 1, Linv + i * m, s->innovation);
    }
#if KC_GATED
    if (kc_reject(s, m, whitened)) return;
#endif
    if (m == KC_N_MEASURED) {
        for (i = 0; i < KC_N_P; i++) s->p[i] += kc_dot(m, kc_M + i * m, s->innovation);
        return;
    }
    for (i = 0; i < m; i++) {
        double pull = 0.0;
        for (j = i; j < m; j++) pull += Linv[j * m + i] * whitened[j];
        kc_axpy(KC_N_P, pull, kc_seen_P + here[i] * KC_N_P, s->p);
    }
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
    double S[KC_N_MEASURED * KC_N_MEASURED], L[KC_N_MEASURED * KC_N_MEASURED], Linv[KC_N_MEASURED * KC_N_MEASURED], whitened[KC_N_MEASURED];
    double *P = s->covariance, *W = s->product, *V = s->seen, *G = s->gain;
    int i, j, k, n = KC_N_P, m = n_here;
    if (m == 0) return;
    for (i = 0; i < m; i++) {
        const double *row = kc_C + here[i] * n;
        for (j = 0; j < n; j++) V[i * n + j] = kc_dot(n, row, P + j * n);
        for (j = 0; j < m; j++)
            S[i * m + j] = kc_dot(n, V + i * n, kc_C + here[j] * n) + kc_R_noise[here[i] * KC_N_MEASURED + here[j]];
        s->innovation[i] = y[here[i]] - kc_measured_op[here[i]] - kc_dot(n, row, s->p);
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
        double *gain = G + i * m, *row = W + i * n, half[KC_N_MEASURED];
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
        double left[KC_N_MEASURED]; /* row i of G R - (I - G C) P C' */
        for (k = 0; k < m; k++) {
            left[k] = -kc_dot(n, W + i * n, kc_C + here[k] * n);
            for (j = 0; j < m; j++) left[k] += G[i * m + j] * kc_R_noise[here[j] * KC_N_MEASURED + here[k]];
        }
        for (j = 0; j <= i; j++)
            P[i * n + j] = P[j * n + i] = W[i * n + j] + kc_dot(m, left, G + j * m);
    }
}
#endif

#if KC_OBSERVER_LIFTS
/* The estimate in which early signals stand where they are measured, all lags of those measured for the first time
 * filled as of a plant at rest; the rest as it was, or at the operating point. */
static void kc_begin_signals(NAME_state *s, const double *y, int n_early, const int *early) {
    double *x = s->x;
    int i, j;
    if (s->started) {
        for (i = 0; i < KC_N_X; i++) x[i] = kc_x_op[i] + kc_x_scale[i] * s->p[i];
    } else {
        for (i = 0; i < KC_OUTPUT_LAGS * KC_N_Y; i++) x[i] = kc_x_op[i % KC_N_Y];
        for (; i < KC_N_X; i++) x[i] = kc_in_op[(i - KC_OUTPUT_LAGS * KC_N_Y) % KC_N_IN];
    }
    for (j = 0; j < n_early; j++) {
        int k = early[j];
        for (i = 0; i < (s->measured_before[k] ? 1 : KC_OUTPUT_LAGS); i++) x[i * KC_N_Y + kc_channel[k]] = y[k];
    }
    kc_features(x, s->raw);
    kc_deviate(KC_N_Z, KC_N_X + KC_N_FEATURES, kc_basis, s->raw, s->p);
}
#endif

/* Estimate at this sample; there is none until something has been measured. */
static int kc_read(NAME_state *s, const double *y) {
    double *z = s->p;
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
        for (i = 0; i < KC_N_P; i++) z[i] = 0.0;
#if !KC_STEADY
        for (i = 0; i < KC_N_P * KC_N_P; i++) s->covariance[i] = kc_P0[i];
#endif
        if (n_here == 0) return 0;
    }
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
#if KC_OBSERVER_LIFTS
    if (n_early > 0) kc_begin_signals(s, y, n_early, early);
#endif
    for (i = 0; i < n_early; i++) s->measured_before[early[i]] = level;
    s->started = 1;
    kc_correct(s, y, n_here, here);
    return 1;
}

/* Begin anew where the estimate's outputs are far beyond the newest measurement. */
static void kc_recover(NAME_state *s, const double *y) {
    int i;
    for (i = 0; i < KC_N_MEASURED; i++) {
        double size = kc_innovation_size[i] + (isfinite(y[i]) ? fabs(y[i] - kc_measured_op[i]) : 0.0);
        if (!(fabs(kc_dot(KC_N_P, kc_C + i * KC_N_P, s->p)) <= KC_ABSURD * KC_ABSURD * size)) s->started = 0;
    }
}
