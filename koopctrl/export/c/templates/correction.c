/* What Kalman filters share: the gate, and one correction with a covariance of its own; see
 * koopctrl.controllers.estimation.gate. */

#include <limits.h>

#if KC_GATED
/* Whether an innovation, whitened, is too far away to be believed. So many in a row are rejected; after them it is
 * the estimate that is wrong. What is not a number is too far as well. */
static int kc_reject(NAME_state *s, int n, const double *whitened) {
    if (sqrt(kc_dot(n, whitened, whitened) / (double)n) <= kc_gate[0]) {
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

#if !KC_STEADY
/* Gain and covariance from those outputs that were measured, and `judged` by the gate if there is one. With V = C P, S = V C' + R and G = V' S^-1 it is
 * Joseph's form, (I - G C) P (I - G C)' + G R G', one factor at a time: positive whatever rounding does to G. */
static void kc_correct(NAME_state *s, const double *y, int n_here, const int *here, int judged) {
    double S[KC_N_MEASURED * KC_N_MEASURED] = {0.0}, L[KC_N_MEASURED * KC_N_MEASURED] = {0.0};
    double Linv[KC_N_MEASURED * KC_N_MEASURED] = {0.0}, whitened[KC_N_MEASURED] = {0.0};
    double *P = s->covariance, *W = s->product, *V = s->seen, *G = s->gain;
    int i, j, k, n = KC_N_MEMORY, m = n_here;
    if (m == 0) return;
    for (i = 0; i < m; i++) {
        const double *row = kc_C + here[i] * n;
        for (j = 0; j < n; j++) V[i * n + j] = kc_dot(n, row, P + j * n);
        for (j = 0; j < m; j++)
            S[i * m + j] = kc_dot(n, V + i * n, kc_C + here[j] * n) + kc_R_noise[here[i] * KC_N_MEASURED + here[j]];
        s->innovation[i] = y[here[i]] - kc_measured_op[here[i]] - kc_dot(n, row, s->KC_MEMORY);
    }
    if (!kc_factor(m, S, L, Linv)) { /* only where numbers have overflowed */
        s->started = 0;
        return;
    }
    for (i = 0; i < m; i++) whitened[i] = kc_dot(i + 1, Linv + i * m, s->innovation);
#if KC_GATED
    if (judged && kc_reject(s, m, whitened)) return;
#endif
    (void)judged;
    for (i = 0; i < n; i++) {
        double *gain = G + i * m, *row = W + i * n, half[KC_N_MEASURED];
        for (k = 0; k < m; k++) {
            half[k] = gain[k] = 0.0;
            for (j = 0; j <= k; j++) half[k] += Linv[k * m + j] * V[j * n + i];
        }
        for (k = 0; k < m; k++) kc_axpy(k + 1, half[k], Linv + k * m, gain);
        s->KC_MEMORY[i] += kc_dot(m, half, whitened);
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
