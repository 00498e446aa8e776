/* Steady targets of the network by Gauss-Newton, and the LQR's cost to go there. */

/* Solve M X = F in place by elimination with partial pivoting, M n x n and F n x m; tells whether M is regular. */
static int kc_eliminate(int n, int m, double *M, double *F) {
    int i, j, k;
    for (k = 0; k < n; k++) {
        int pivot = k;
        for (i = k + 1; i < n; i++)
            if (fabs(M[i * n + k]) > fabs(M[pivot * n + k])) pivot = i;
        if (!(fabs(M[pivot * n + k]) > 0.0)) return 0;
        for (j = 0; pivot != k && j < n; j++) {
            double swap = M[k * n + j];
            M[k * n + j] = M[pivot * n + j];
            M[pivot * n + j] = swap;
        }
        for (j = 0; pivot != k && j < m; j++) {
            double swap = F[k * m + j];
            F[k * m + j] = F[pivot * m + j];
            F[pivot * m + j] = swap;
        }
        for (i = k + 1; i < n; i++) {
            double factor = M[i * n + k] / M[k * n + k];
            if (factor == 0.0) continue;
            kc_axpy(n - k, -factor, M + k * n + k, M + i * n + k);
            kc_axpy(m, -factor, F + k * m, F + i * m);
        }
    }
    for (k = n - 1; k >= 0; k--)
        for (j = 0; j < m; j++) {
            double sum = F[k * m + j];
            for (i = k + 1; i < n; i++) sum -= M[k * n + i] * F[i * m + j];
            F[k * m + j] = sum / M[k * n + k];
        }
    return kc_all_finite(n * m, F);
}

/* A (n_x x n_x) and B (n_x x n_u) of a whole step, shift included. */
static void kc_whole_jacobian(NAME_state *s, const double *x, const double *u, double *a, double *b) {
    double unit[KC_N_X], zero_u[KC_N_U], zero_y[KC_N_Y], column[KC_N_X], t[KC_N_QY];
    int i, j;
    for (i = 0; i < KC_N_X; i++) unit[i] = 0.0;
    for (i = 0; i < KC_N_U; i++) zero_u[i] = 0.0;
    for (i = 0; i < KC_N_Y; i++) zero_y[i] = 0.0;
    for (j = 0; j < KC_N_X; j++) {
        unit[j] = 1.0;
        kc_advance(unit, zero_u, zero_y, column);
        for (i = 0; i < KC_N_X; i++) a[i * KC_N_X + j] = column[i];
        unit[j] = 0.0;
    }
    for (j = 0; j < KC_N_U; j++) {
        zero_u[j] = 1.0;
        kc_advance(unit, zero_u, zero_y, column);
        for (i = 0; i < KC_N_X; i++) b[i * KC_N_U + j] = column[i];
        zero_u[j] = 0.0;
    }
    kc_terms(x, u, s->psi_here, t);
    kc_jacobian(u, s->psi_here, t, a, b); /* the first n_y rows */
}

/* One equality-constrained Gauss-Newton search for a steady state near r, in standardised coordinates; inputs with
 * free[i] = 0 stay. Tells whether it converged. */
static int kc_target_newton(NAME_state *s, const double *r, double *x, double *u, const int *free) {
    double gap[KC_N_X], t[KC_N_QY], size = INFINITY, worst = 0.0;
    double *M = s->kkt, *F = s->rhs, *a = s->a, *b = s->b;
    int index[KC_N_U], n_free = 0, n, total, i, j, iteration;
    for (i = 0; i < KC_N_U; i++)
        if (free[i]) index[n_free++] = i;
    n = KC_N_X + n_free;
    total = n + KC_N_X;
    for (iteration = 0; iteration < 40; iteration++) {
        double shorten;
        kc_whole_jacobian(s, x, u, a, b);
        kc_step(x, u, s->d, s->psi_here, t, gap);
        for (i = 0; i < total * total; i++) M[i] = 0.0;
        for (i = 0; i < total; i++) F[i] = 0.0;
        for (i = 0; i < KC_N_Y; i++)
            for (j = 0; j < KC_N_Y; j++) {
                double weight = kc_Q[i * KC_N_Y + j] * kc_x_scale[i] * kc_x_scale[j];
                M[i * total + j] = weight;
                F[i] -= weight * (x[j] - r[j]) / kc_x_scale[j];
            }
        for (i = 0; i < n_free; i++)
            for (j = 0; j < n_free; j++) {
                int p = index[i], o = index[j];
                double weight = kc_idle[0] * kc_R[p * KC_N_U + o] * kc_u_scale[p] * kc_u_scale[o];
                M[(KC_N_X + i) * total + KC_N_X + j] = weight;
                F[KC_N_X + i] -= weight * (u[o] - kc_u_mean[o]) / kc_u_scale[o];
            }
        for (i = 0; i < KC_N_X; i++) {
            for (j = 0; j < KC_N_X; j++) {
                double entry = a[i * KC_N_X + j] * kc_x_scale[j] / kc_x_scale[i] - (i == j ? 1.0 : 0.0);
                M[(n + i) * total + j] = M[j * total + n + i] = entry;
            }
            for (j = 0; j < n_free; j++) {
                double entry = b[i * KC_N_U + index[j]] * kc_u_scale[index[j]] / kc_x_scale[i];
                M[(n + i) * total + KC_N_X + j] = M[(KC_N_X + j) * total + n + i] = entry;
            }
            F[n + i] = -(gap[i] - x[i]) / kc_x_scale[i];
        }
        if (!kc_eliminate(total, 1, M, F)) {
            size = INFINITY;
            break;
        }
        size = 0.0;
        for (i = 0; i < n; i++) size = fmax(size, fabs(F[i]));
        shorten = fmin(1.0, 2.0 / fmax(size, 1e-300));
        for (i = 0; i < KC_N_X; i++) x[i] += shorten * F[i] * kc_x_scale[i];
        for (i = 0; i < n_free; i++) u[index[i]] += shorten * F[KC_N_X + i] * kc_u_scale[index[i]];
        if (size < 1e-10) break;
    }
    kc_step(x, u, s->d, s->psi_here, t, gap);
    for (i = 0; i < KC_N_X; i++) worst = fmax(worst, fabs(gap[i] - x[i]) / kc_x_scale[i]);
    return kc_all_finite(KC_N_X, gap) && kc_all_finite(KC_N_X, x) && worst < 1e-6 && size < 1e-3;
}

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
 * so it vanishes just when the solution stabilises. Tells whether there is one, its residual relative to P small. */
static int kc_riccati(NAME_state *s, const double *x, const double *u) {
    double *F = s->a, *b = s->b, *G = s->riccati_G, *P = s->P, *M = s->riccati_M, *W = s->riccati_W, *V = s->riccati_V;
    double *A = s->riccati_A, R[KC_N_U * KC_N_U], K[KC_N_U * KC_N_X], PB[KC_N_X * KC_N_U], size, change;
    int n = KC_N_X, i, j, k, converged = 0;
    kc_whole_jacobian(s, x, u, F, b);
    for (i = 0; i < n * n; i++) A[i] = F[i];
    for (i = 0; i < KC_N_U * KC_N_U; i++) R[i] = kc_R[i];
    for (i = 0; i < KC_N_U; i++)
        for (j = 0; j < n; j++) K[i * n + j] = b[j * KC_N_U + i];
    if (!kc_eliminate(KC_N_U, n, R, K)) return 0;
    kc_multiply(n, KC_N_U, n, b, 0, K, 0, G);
    for (i = 0; i < n * n; i++) P[i] = 0.0;
    for (i = 0; i < KC_N_Y; i++)
        for (j = 0; j < KC_N_Y; j++) P[i * n + j] = kc_Q[i * KC_N_Y + j];
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
        converged = change <= 1e-15 * size && largest < 1.0;
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
                if (i < KC_N_Y && j < KC_N_Y) value += kc_Q[i * KC_N_Y + j];
                V[i * n + j] = value;
                change = fmax(change, fabs(value - P[i * n + j]));
                size = fmax(size, fabs(value));
            }
        for (i = 0; i < n; i++)
            for (j = 0; j < n; j++) P[i * n + j] = 0.5 * (V[i * n + j] + V[j * n + i]);
    }
    return change <= 1e-4 * size;
}
#endif

/* Target of one set-point under the present disturbance: s->end_x, s->end_u; the last one is remembered, and the next
 * search starts from the last that converged. An input beyond its bounds is held there and the rest solved again. */
static void kc_find_target(NAME_state *s, const double *r) {
    int free[KC_N_U], i, pass, same = s->has_target;
    for (i = 0; i < KC_N_Y; i++) same = same && s->target_r[i] == r[i] && s->target_d[i] == s->d[i];
    if (same) return;
    for (i = 0; i < KC_N_X; i++) s->end_x[i] = s->start_x[i];
    for (i = 0; i < KC_N_U; i++) {
        s->end_u[i] = s->start_u[i];
        free[i] = 1;
    }
    s->end_converged = kc_target_newton(s, r, s->end_x, s->end_u, free);
    for (pass = 0; pass < KC_N_U; pass++) {
        int outside = 0;
        for (i = 0; i < KC_N_U; i++)
            if (free[i] && !(s->end_u[i] >= kc_u_min[i] && s->end_u[i] <= kc_u_max[i])) {
                outside = 1;
                free[i] = 0;
            }
        if (!outside) break;
        for (i = 0; i < KC_N_U; i++) s->end_u[i] = kc_clip(s->end_u[i], kc_u_min[i], kc_u_max[i]);
        s->end_converged = kc_target_newton(s, r, s->end_x, s->end_u, free);
    }
    s->has_target = 1;
    s->has_P = -1; /* not asked for yet */
    for (i = 0; i < KC_N_Y; i++) {
        s->target_r[i] = r[i];
        s->target_d[i] = s->d[i];
    }
    if (s->end_converged) {
        for (i = 0; i < KC_N_X; i++) s->start_x[i] = s->end_x[i];
        for (i = 0; i < KC_N_U; i++) s->start_u[i] = s->end_u[i];
    }
}
