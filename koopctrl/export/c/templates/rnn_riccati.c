/* The LQR's cost to go at a steady target of the network. */

#if KC_RICCATI
/* C = A B, with A m x k and B k x n; either may be read transposed. */
static void kc_multiply(int m, int k, int n, const double *A, int a_t, const double *B, int b_t, double *C) {
    int i, j, l;
    for (i = 0; i < m; i++)
        for (j = 0; j < n; j++) {
            double sum = 0.0;
            for (l = 0; l < k; l++) sum += A[a_t ? l * m + i : i * k + l] * B[b_t ? j * k + l : l * n + j];
            C[i * n + j] = sum;
        }
}

/* Cost to go of the LQR at the target, by doubling (Chu, Fan, Lin, Wang 2004): F is the closed loop's 2^k-th power,
 * so it vanishes just when the solution stabilises. Tells whether there is one, its residual relative to P small;
 * its gain is left in K. */
static int kc_riccati(NAME_state *s, const double *x, const double *u) {
    double *F = s->a, *b = s->b, *G = s->riccati_G, *P = s->P, *M = s->riccati_M, *W = s->riccati_W, *V = s->riccati_V;
    double *A = s->riccati_A, *K = s->K, R[KC_N_U * KC_N_U], PB[KC_N_X * KC_N_U], size, change;
    int n = KC_N_X, i, j, k, converged = 0;
    kc_whole_jacobian(s, x, u, KC_HELD, F, b);
    for (i = 0; i < n * n; i++) A[i] = F[i];
    for (i = 0; i < KC_N_U * KC_N_U; i++) R[i] = kc_R[i];
    for (i = 0; i < KC_N_U; i++)
        for (j = 0; j < n; j++) K[i * n + j] = b[j * KC_N_U + i];
    if (!kc_eliminate(KC_N_U, n, R, K)) return 0;
    kc_multiply(n, KC_N_U, n, b, 0, K, 0, G);
    for (i = 0; i < n * n; i++) P[i] = 0.0;
    for (i = 0; i < KC_N_Y; i++)
        for (j = 0; j < KC_N_Y; j++) P[i * n + j] = kc_Q[i * KC_N_Y + j] * s->mark[i] * s->mark[j];
    for (k = 0; k < 60 && !converged; k++) {
        double largest = 0.0;
        /* [W, V] = (I + G P)^-1 [F, G], side by side in W (n x 2n). */
        kc_multiply(n, n, n, G, 0, P, 0, M);
        for (i = 0; i < n; i++) M[i * n + i] += 1.0;
        for (i = 0; i < n; i++)
            for (j = 0; j < n; j++) {
                W[i * 2 * n + j] = F[i * n + j];
                W[i * 2 * n + n + j] = G[i * n + j];
            }
        if (!kc_eliminate(n, 2 * n, M, W)) return 0;
        for (i = 0; i < n; i++)
            for (j = 0; j < n; j++) {
                M[i * n + j] = W[i * 2 * n + j];
                V[i * n + j] = W[i * 2 * n + n + j];
            }
        /* P += F' P M, with M = (I + G P)^-1 F */
        kc_multiply(n, n, n, P, 0, M, 0, W);
        kc_multiply(n, n, n, F, 1, W, 0, W + n * n);
        size = change = 0.0;
        for (i = 0; i < n; i++)
            for (j = 0; j < n; j++) {
                double step = 0.5 * (W[n * n + i * n + j] + W[n * n + j * n + i]);
                P[i * n + j] += step;
                change = fmax(change, fabs(step));
                size = fmax(size, fabs(P[i * n + j]));
            }
        /* G += F V F' */
        kc_multiply(n, n, n, F, 0, V, 0, W);
        kc_multiply(n, n, n, W, 0, F, 1, W + n * n);
        for (i = 0; i < n; i++)
            for (j = 0; j < n; j++) G[i * n + j] += 0.5 * (W[n * n + i * n + j] + W[n * n + j * n + i]);
        kc_multiply(n, n, n, F, 0, M, 0, W);
        for (i = 0; i < n * n; i++) {
            F[i] = W[i];
            largest = fmax(largest, fabs(F[i]));
        }
        if (!kc_all_finite(n * n, P)) return 0;
        converged = change <= KC_TIGHT(1e-15, 1e-6) * size && largest < 1.0;
    }
    if (!converged) return 0;
    /* Two steps of value iteration, each a contraction there; the last one's change is the residual. */
    change = size = 0.0;
    for (k = 0; k < 2; k++) {
        kc_multiply(n, n, KC_N_U, P, 0, b, 0, PB);
        kc_multiply(KC_N_U, n, KC_N_U, b, 1, PB, 0, R);
        for (i = 0; i < KC_N_U * KC_N_U; i++) R[i] += kc_R[i];
        kc_multiply(KC_N_U, n, n, PB, 1, A, 0, K);
        if (!kc_eliminate(KC_N_U, n, R, K)) return 0;
        kc_multiply(n, KC_N_U, n, b, 0, K, 0, M);
        for (i = 0; i < n * n; i++) M[i] = A[i] - M[i];
        kc_multiply(n, n, n, P, 0, M, 0, W);
        kc_multiply(n, n, n, M, 1, W, 0, V); /* (A - BK)' P (A - BK) + Q + K'RK */
        kc_multiply(KC_N_U, KC_N_U, n, kc_R, 0, K, 0, W);
        kc_multiply(n, KC_N_U, n, K, 1, W, 0, M);
        change = size = 0.0;
        for (i = 0; i < n; i++)
            for (j = 0; j < n; j++) {
                double value = V[i * n + j] + M[i * n + j];
                if (i < KC_N_Y && j < KC_N_Y) value += kc_Q[i * KC_N_Y + j] * s->mark[i] * s->mark[j];
                V[i * n + j] = value;
                change = fmax(change, fabs(value - P[i * n + j]));
                size = fmax(size, fabs(value));
            }
        for (i = 0; i < n; i++)
            for (j = 0; j < n; j++) P[i * n + j] = 0.5 * (V[i * n + j] + V[j * n + i]);
    }
    return change <= KC_TIGHT(1e-4, 1e-3) * size;
}
#endif
