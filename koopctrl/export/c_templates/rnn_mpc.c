/* Predictive control on the recurrent network by real-time iteration: see koopctrl.controllers.rnn_mpc.
 *
 * A sample: roll the shifted plan out; linearise along it; condense to a QP in the plan's change; solve; take the
 * longest of four steps that does not raise the merit along the network's own roll-out. Nothing that leaves here
 * depends on the linearisation being good. With raw x, u and psi = act(Wx x + Wu u + b) the network is
 *
 *     y+ = y + sum_q m_q(u) (c_q + L_q x + V_q psi) + D u + d,     x+ = window(x, u, y+)
 *
 * with monomials m_q of the standardised input and a constant disturbance d. */

#define KC_COLD_ITERATIONS 20
#define KC_SETTLED 1e-10
#define KC_SIZE (KC_N_V + KC_N_SOFT)
#define KC_N_ROWS (KC_N_RATE + KC_N_E * KC_HORIZON)
#define KC_N_C (KC_SIZE + KC_N_ROWS + KC_N_SOFT)
#define KC_N_QY (KC_N_Q * KC_N_Y)
#define KC_N_KKT (2 * KC_N_X + KC_N_U)

/* Monomials of an input, and their gradients (n_q x n_u) unless dq is a null pointer. A monomial is the product of
 * up to two inputs; -1 stands for none. */
static void kc_monomials(const double *u, double *q, double *dq) {
    int i, j;
    for (i = 0; i < KC_N_Q; i++) {
        int a = kc_monomial[2 * i], b = kc_monomial[2 * i + 1];
        double first = a < 0 ? 1.0 : (u[a] - kc_u_mean[a]) / kc_u_scale[a];
        double second = b < 0 ? 1.0 : (u[b] - kc_u_mean[b]) / kc_u_scale[b];
        q[i] = first * second;
        if (dq == 0) continue;
        for (j = 0; j < KC_N_U; j++) dq[i * KC_N_U + j] = 0.0;
        if (a >= 0) dq[i * KC_N_U + a] += second / kc_u_scale[a];
        if (b >= 0) dq[i * KC_N_U + b] += first / kc_u_scale[b];
    }
}

/* t = c + L x + V psi at one point; psi is kept for the Jacobian. */
static void kc_terms(const double *x, const double *u, double *psi, double *t) {
    int i;
    for (i = 0; i < KC_N_FEATURES; i++) {
        double pre = kc_biases[i] + kc_dot(KC_N_X, kc_weights + i * KC_N_X, x);
#if KC_LAYER_SEES_INPUT
        pre += kc_dot(KC_N_U, kc_input_weights + i * KC_N_U, u);
#endif
        psi[i] = KC_TANH ? tanh(pre) : fmax(pre, 0.0);
        if (!isfinite(pre)) psi[i] = pre; /* fmax would hide it */
    }
    (void)u;
    for (i = 0; i < KC_N_QY; i++) {
        t[i] = kc_constant[i] + kc_dot(KC_N_X, kc_linear + i * KC_N_X, x);
        t[i] += kc_dot(KC_N_FEATURES, kc_outer + i * KC_N_FEATURES, psi);
    }
}

/* y+ = next, and the window moved on. */
static void kc_advance(const double *x, const double *u, const double *next, double *x_next) {
    int i, end = KC_OUTPUT_LAGS * KC_N_Y;
    for (i = KC_N_X - 1; i >= end + KC_N_U; i--) x_next[i] = x[i - KC_N_U];
    for (i = 0; i < KC_N_U && end + i < KC_N_X; i++) x_next[end + i] = u[i];
    for (i = end - 1; i >= KC_N_Y; i--) x_next[i] = x[i - KC_N_Y];
    for (i = 0; i < KC_N_Y; i++) x_next[i] = next[i];
}

/* One step; psi and t are left for the Jacobian. */
static void kc_step(const double *x, const double *u, const double *d, double *psi, double *t, double *x_next) {
    double q[KC_N_Q], next[KC_N_Y];
    int i, j;
    kc_monomials(u, q, 0);
    kc_terms(x, u, psi, t);
    for (i = 0; i < KC_N_Y; i++) {
        next[i] = x[i] + d[i] + kc_dot(KC_N_U, kc_direct + i * KC_N_U, u);
        for (j = 0; j < KC_N_Q; j++) next[i] += q[j] * t[j * KC_N_Y + i];
    }
    kc_advance(x, u, next, x_next);
}

/* dy+/dx (n_y x n_x) and dy+/du (n_y x n_u) from psi and t of kc_step; the window's other rows are a shift. */
static void kc_jacobian(const double *u, const double *psi, const double *t, double *y_x, double *y_u) {
    double q[KC_N_Q], dq[KC_N_Q * KC_N_U];
    int i, j, k, f;
    kc_monomials(u, q, dq);
    for (i = 0; i < KC_N_Y; i++) {
        double *row_x = y_x + i * KC_N_X, *row_u = y_u + i * KC_N_U;
        for (j = 0; j < KC_N_X; j++) row_x[j] = i == j ? 1.0 : 0.0;
        for (j = 0; j < KC_N_U; j++) row_u[j] = kc_direct[i * KC_N_U + j];
        for (k = 0; k < KC_N_Q; k++) {
            kc_axpy(KC_N_X, q[k], kc_linear + (k * KC_N_Y + i) * KC_N_X, row_x);
            for (j = 0; j < KC_N_U; j++) row_u[j] += t[k * KC_N_Y + i] * dq[k * KC_N_U + j];
        }
        for (f = 0; f < KC_N_FEATURES; f++) {
            double seen = 0.0;
            for (k = 0; k < KC_N_Q; k++) seen += q[k] * kc_outer[(k * KC_N_Y + i) * KC_N_FEATURES + f];
            seen *= KC_TANH ? 1.0 - psi[f] * psi[f] : (psi[f] > 0.0 ? 1.0 : 0.0);
            for (j = 0; j < KC_N_X; j++) row_x[j] += seen * kc_weights[f * KC_N_X + j];
#if KC_LAYER_SEES_INPUT
            for (j = 0; j < KC_N_U; j++) row_u[j] += seen * kc_input_weights[f * KC_N_U + j];
#endif
        }
    }
}

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

/* What outputs shall follow, inputs stay near, and the end's weight. */
static void kc_set_references(NAME_state *s, const double *reference, int n_rows, int preview) {
    int i, k;
    for (k = 0; k <= KC_HORIZON; k++) {
        const double *r = kc_reference(reference, n_rows, k);
        kc_find_target(s, r);
        for (i = 0; i < KC_N_Y; i++)
            s->tracked[k * KC_N_Y + i] = !preview && s->end_converged ? s->end_x[i] : r[i];
        for (i = 0; i < KC_N_U && k < KC_HORIZON; i++) s->steady[k * KC_N_U + i] = s->end_u[i];
    }
#if KC_RICCATI
    if (s->has_P < 0) s->has_P = s->end_converged && kc_riccati(s, s->end_x, s->end_u);
#else
    s->has_P = 0;
#endif
}

static void kc_roll(NAME_state *s, const double *plan, double *states, double *psi, double *t) {
    int k;
    for (k = 0; k < KC_HORIZON; k++)
        kc_step(states + k * KC_N_X, plan + k * KC_N_U, s->d, psi + k * KC_N_FEATURES, t + k * KC_N_QY,
                states + (k + 1) * KC_N_X);
}

/* v' M v */
static double kc_quadratic(int n, const double *M, const double *v) {
    double sum = 0.0;
    int i;
    for (i = 0; i < n; i++) sum += v[i] * kc_dot(n, M + i * n, v);
    return sum;
}

/* Cost of a plan along its roll-out, relaxations included; infinite unless it is a number. */
static double kc_merit(const NAME_state *s, const double *plan, const double *states) {
    double cost = 0.0, last[KC_N_X], error[KC_N_Y], du[KC_N_U], worst = 0.0;
    int i, k, n_stage = s->has_P ? KC_HORIZON - 1 : KC_HORIZON;
    for (k = 0; k < KC_HORIZON; k++) {
        const double *x = states + (k + 1) * KC_N_X, *u = plan + k * KC_N_U;
        if (k < n_stage) {
            for (i = 0; i < KC_N_Y; i++) error[i] = x[i] - s->tracked[(k + 1) * KC_N_Y + i];
            cost += kc_quadratic(KC_N_Y, kc_Q, error);
        }
        for (i = 0; i < KC_N_U; i++) du[i] = u[i] - s->steady[k * KC_N_U + i];
        cost += kc_quadratic(KC_N_U, kc_R, du);
        for (i = 0; i < KC_N_U; i++) {
            du[i] = u[i] - (k ? u[i - KC_N_U] : kc_effective_last(s, i));
            worst = fmax(worst, fmax(du[i] - kc_du_max[i], kc_du_min[i] - du[i]));
        }
#if KC_RATE_COST
        cost += kc_quadratic(KC_N_U, kc_S, du);
#endif
#if KC_N_E > 0
        for (i = 0; i < KC_N_E; i++) {
            double e = kc_dot(KC_N_X, kc_E + i * KC_N_X, x);
            double excess = fmax(e - kc_e_max[i], 0.0) + fmax(kc_e_min[i] - e, 0.0);
            cost += kc_penalty[0] * excess + kc_penalty[1] * excess * excess;
        }
#endif
    }
    if (s->has_P) {
        for (i = 0; i < KC_N_X; i++) last[i] = states[KC_HORIZON * KC_N_X + i] - s->end_x[i];
        cost += kc_quadratic(KC_N_X, s->P, last);
    }
    /* The shifted plan may break move bounds when the plant applied another input than was sent. */
    if (worst > 1e-9) cost += 1e12;
    return isfinite(cost) ? cost : INFINITY;
}

/* Hessian, gradient, rows and bounds of the QP in the plan's change, scaled as in the package. */
static void kc_condense(NAME_state *s) {
    int i, j, k, l, n = KC_N_V, n_stage = s->has_P ? KC_HORIZON - 1 : KC_HORIZON;
    double *H = s->H, *g = s->g, *gamma = s->gamma, *lo = s->lo, *hi = s->hi;
    double y_x[KC_N_Y * KC_N_X], y_u[KC_N_Y * KC_N_U], error[KC_N_X];
    int end = KC_OUTPUT_LAGS * KC_N_Y;
    for (i = 0; i < n * n; i++) H[i] = kc_input_hessian[i];
    for (i = 0; i < n; i++) g[i] = 0.0;
    for (k = 0; k < KC_HORIZON; k++) {
        int block = kc_block[k] * KC_N_U;
        const double *u = s->candidate + k * KC_N_U;
        double *now = gamma + k * KC_N_X * n; /* dx_{k+1} / dv */
        const double *before = k > 0 ? now - KC_N_X * n : now;
        kc_jacobian(u, s->psi + k * KC_N_FEATURES, s->t + k * KC_N_QY, y_x, y_u);
        for (i = 0; i < KC_N_X; i++) {
            double *row = now + i * n;
            for (j = 0; j < n; j++) row[j] = 0.0;
            if (i < KC_N_Y) {
                for (l = 0; k > 0 && l < KC_N_X; l++) kc_axpy(block + KC_N_U, y_x[i * KC_N_X + l], before + l * n, row);
                for (j = 0; j < KC_N_U; j++) row[block + j] += y_u[i * KC_N_U + j];
            } else if (i < end) {
                for (j = 0; k > 0 && j < n; j++) row[j] = before[(i - KC_N_Y) * n + j];
            } else if (i < end + KC_N_U) {
                row[block + i - end] = 1.0;
            } else {
                for (j = 0; k > 0 && j < n; j++) row[j] = before[(i - KC_N_U) * n + j];
            }
        }
        if (k < n_stage) {
            for (i = 0; i < KC_N_Y; i++)
                error[i] = s->states[(k + 1) * KC_N_X + i] - s->tracked[(k + 1) * KC_N_Y + i];
            for (i = 0; i < KC_N_Y; i++)
                for (j = 0; j < KC_N_Y; j++) {
                    double weight = kc_Q[i * KC_N_Y + j];
                    const double *left = now + i * n, *right = now + j * n;
                    if (weight == 0.0) continue;
                    for (l = 0; l < block + KC_N_U; l++)
                        kc_axpy(block + KC_N_U, weight * left[l], right, H + l * n);
                    kc_axpy(block + KC_N_U, weight * error[j], left, g);
                }
        }
        for (i = 0; i < KC_N_U; i++)
            for (j = 0; j < KC_N_U; j++)
                g[block + i] += kc_R[i * KC_N_U + j] * (u[j] - s->steady[k * KC_N_U + j]);
#if KC_RATE_COST
        for (i = 0; i < KC_N_U; i++)
            for (j = 0; j < KC_N_U; j++) { /* S (u_k - u_{k-1}) at k, its negative at k - 1 */
                double move = kc_S[i * KC_N_U + j] * (u[j] - (k ? u[j - KC_N_U] : kc_effective_last(s, j)));
                g[block + i] += move;
                if (k > 0) g[kc_block[k - 1] * KC_N_U + i] -= move;
            }
#endif
    }
    if (s->has_P) {
        const double *last = gamma + (KC_HORIZON - 1) * KC_N_X * n;
        for (i = 0; i < KC_N_X; i++) error[i] = s->states[KC_HORIZON * KC_N_X + i] - s->end_x[i];
        for (i = 0; i < KC_N_X; i++)
            for (j = 0; j < KC_N_X; j++) {
                double weight = s->P[i * KC_N_X + j];
                for (l = 0; l < n; l++) kc_axpy(n, weight * last[i * n + l], last + j * n, H + l * n);
                kc_axpy(n, weight * error[j], last + i * n, g);
            }
    }
    for (i = 0; i < n; i++) s->scale[i] = 1.0 / sqrt(H[i * n + i]);
    for (i = 0; i < n; i++) {
        for (j = 0; j < n; j++) H[i * n + j] *= s->scale[i] * s->scale[j];
        g[i] *= s->scale[i];
    }
    /* Bounds of the change: what the plan uses already is taken off. */
    for (i = 0; i < n; i++) {
        double value = s->candidate[kc_block_start[i / KC_N_U] * KC_N_U + i % KC_N_U];
        lo[i] = (kc_u_min[i % KC_N_U] - value) / s->scale[i];
        hi[i] = (kc_u_max[i % KC_N_U] - value) / s->scale[i];
    }
    for (k = 0; k < KC_N_ROWS; k++) {
        double *row = s->rows + k * n, norm, used, low, high;
        if (k < KC_N_RATE) {
            i = k % KC_N_U;
            used = s->candidate[kc_block_start[k / KC_N_U] * KC_N_U + i];
            used -= k < KC_N_U ? kc_effective_last(s, i) : s->candidate[kc_block_start[k / KC_N_U - 1] * KC_N_U + i];
            for (j = 0; j < n; j++) row[j] = 0.0;
            row[k] = s->scale[k];
            if (k >= KC_N_U) row[k - KC_N_U] = -s->scale[k - KC_N_U];
            low = kc_du_min[i];
            high = kc_du_max[i];
        } else {
#if KC_N_E > 0
            int step = (k - KC_N_RATE) / KC_N_E;
            i = (k - KC_N_RATE) % KC_N_E;
            used = kc_dot(KC_N_X, kc_E + i * KC_N_X, s->states + (step + 1) * KC_N_X);
            for (j = 0; j < n; j++) row[j] = 0.0;
            for (l = 0; l < KC_N_X; l++)
                kc_axpy(n, kc_E[i * KC_N_X + l], gamma + (step * KC_N_X + l) * n, row);
            for (j = 0; j < n; j++) row[j] *= s->scale[j];
            low = kc_e_min[i];
            high = kc_e_max[i];
#else
            continue;
#endif
        }
        norm = sqrt(kc_dot(n, row, row));
        s->row_scale[k] = norm > 0.0 ? 1.0 / norm : 1.0;
        for (j = 0; j < n; j++) row[j] *= s->row_scale[k];
        lo[n + k] = (low - used) * s->row_scale[k];
        hi[n + k] = (high - used) * s->row_scale[k];
    }
}

/* Linv of H = L L'; tells whether H is positive definite. */
static int kc_factor(int n, const double *H, double *L, double *Linv) {
    int i, j, k;
    for (i = 0; i < n; i++)
        for (j = 0; j <= i; j++) {
            double sum = H[i * n + j] - kc_dot(j, L + i * n, L + j * n);
            if (i == j) {
                if (!(sum > 0.0)) return 0;
                L[i * n + i] = sqrt(sum);
            } else {
                L[i * n + j] = sum / L[j * n + j];
            }
        }
    for (i = 0; i < n; i++) {
        for (j = 0; j < n; j++) Linv[i * n + j] = 0.0;
        Linv[i * n + i] = 1.0;
        for (k = 0; k < i; k++) kc_axpy(k + 1, -L[i * n + k], Linv + k * n, Linv + i * n);
        for (j = 0; j <= i; j++) Linv[i * n + j] /= L[i * n + i];
    }
    return 1;
}

/* The QP of one iteration: hard where feasible, else with slacks. H is new, so the factor of a kept working set is
 * made again. */
static int kc_solve(NAME_state *s, kc_qp_work *w, NAME_info *info) {
    kc_qp qp;
    int status;
    kc_condense(s);
    if (!kc_factor(KC_N_V, s->H, s->L, s->Linv)) return KC_QP_INACCURATE;
    qp.n = KC_N_V;
    qp.m = KC_N_ROWS;
    qp.n_slack = 0;
    qp.H = s->H;
    qp.A = s->rows;
    qp.Linv = s->Linv;
    qp.unit = 0;
    w->Jt = s->hard_Jt;
    w->R = s->hard_R;
    w->x = s->hard_x;
    w->active = s->hard_active;
    w->side = s->hard_side;
    w->k = s->hard_k;
    w->changes = KC_QP_REFACTOR + 1;
    status = kc_qp_solve(&qp, w, s->g, s->lo, s->hi, KC_MAX_ITERATIONS, s->saved);
    s->hard_k = w->k;
    info->iterations += w->iterations;
    info->status = NAME_OPTIMAL;
    info->slack = 0.0;
#if KC_N_SOFT > 0
    if (status != KC_QP_SOLVED) {
        double unit[KC_N_SOFT];
        int i;
        for (i = 0; i < KC_N_SOFT; i++) { /* as in controllers.qp_step */
            double scale = s->row_scale[KC_N_RATE + i];
            unit[i] = scale / sqrt(kc_penalty[1]);
            s->g[KC_N_V + i] = kc_penalty[0] / scale * unit[i];
        }
        kc_widen(s->lo, s->hi);
        qp.n_slack = KC_N_SOFT;
        qp.unit = unit;
        w->Jt = s->soft_Jt;
        w->R = s->soft_R;
        w->x = s->soft_x;
        w->active = s->soft_active;
        w->side = s->soft_side;
        w->k = s->soft_k;
        w->changes = KC_QP_REFACTOR + 1;
        status = kc_qp_solve(&qp, w, s->g, s->lo, s->hi, KC_MAX_ITERATIONS, s->saved);
        s->soft_k = w->k;
        info->iterations += w->iterations;
        if (status == KC_QP_SOLVED)
            for (i = 0; i < KC_N_SOFT; i++)
                info->slack = fmax(info->slack, w->x[KC_N_V + i] * unit[i] / s->row_scale[KC_N_RATE + i]);
        if (info->slack > KC_NO_SLACK) info->status = NAME_SOFTENED;
    }
#endif
    info->kkt_residual = w->kkt;
    return status;
}

/* Window at this sample and, if wanted, the disturbance; tells whether the measurement is complete. */
static int kc_read(NAME_state *s, const double *y) {
    int i, measured = kc_all_finite(KC_N_Y, y);
    double t[KC_N_QY], predicted[KC_N_X], newest[KC_N_Y];
    if (!s->started || !s->has_input) {
        if (measured) kc_fill_window(y, s->x);
        s->started = measured;
        return measured;
    }
    for (i = 0; i < KC_N_Y; i++) newest[i] = y[i];
    if (!measured || kc_filter[0] > 0.0) {
        kc_step(s->x, s->u_last, s->d, s->psi_here, t, predicted);
        for (i = 0; i < KC_N_Y; i++) {
            if (!measured) newest[i] = predicted[i];
            else s->d[i] += kc_filter[0] * (y[i] - predicted[i]); /* the prediction has d in it */
        }
    }
    kc_advance(s->x, s->u_last, newest, predicted);
    for (i = 0; i < KC_N_X; i++) s->x[i] = predicted[i];
    if (!kc_all_finite(KC_N_X, s->x) || !kc_all_finite(KC_N_Y, s->d)) {
        for (i = 0; i < KC_N_Y; i++) s->d[i] = 0.0;
        s->started = 0; /* the prediction ran away: wait for a measurement */
        return 0;
    }
    return measured;
}

/* Policy without a certified solution: shifted plan, else the last input. */
static int kc_fall_back(NAME_state *s, double *u_out) {
    int i, status = NAME_FALLBACK_HOLD;
    if (s->age > 0 && s->age < KC_HORIZON) {
        for (i = 0; i < KC_N_U; i++) u_out[i] = s->plan[s->age * KC_N_U + i];
        s->age++;
        status = NAME_FALLBACK_PLAN;
    } else {
        for (i = 0; i < KC_N_U; i++) u_out[i] = kc_effective_last(s, i);
    }
    for (i = 0; i < KC_N_U; i++) u_out[i] = kc_admissible(s, i, u_out[i]);
    for (i = 0; i < KC_N_U; i++) s->u_last[i] = u_out[i];
    s->has_input = 1;
    return status;
}

/* Forget what an absurd measurement may have spoilt: the disturbance, and where searches for targets start. */
static void kc_restart(NAME_state *s) {
    int i;
    for (i = 0; i < KC_N_Y; i++) s->d[i] = 0.0;
    for (i = 0; i < KC_N_X; i++) s->start_x[i] = kc_start_x[i];
    for (i = 0; i < KC_N_U; i++) s->start_u[i] = kc_start_u[i];
    s->has_target = 0;
    s->hard_k = -1;
    s->soft_k = -1;
}

/* A plan of inputs to start from: within bounds, constant over blocks. */
static void kc_start_plan(NAME_state *s, const double *inputs) {
    int i, k;
    for (k = 0; k < KC_HORIZON; k++)
        for (i = 0; i < KC_N_U; i++) {
            double u = inputs[kc_block_start[kc_block[k]] * KC_N_U + i];
            s->candidate[k * KC_N_U + i] = kc_clip(u, kc_u_min[i], kc_u_max[i]);
        }
}

static double kc_roll_candidate(NAME_state *s) {
    int i;
    for (i = 0; i < KC_N_X; i++) s->states[i] = s->trial_states[i] = s->x[i];
    kc_roll(s, s->candidate, s->states, s->psi, s->t);
    return kc_merit(s, s->candidate, s->states);
}

/* Iterate from the candidate; its merit, infinite without any certified QP, with the reason in info. */
static double kc_optimise(NAME_state *s, kc_qp_work *w, int n_iterations, NAME_info *info) {
    static const double lengths[4] = {1.0, 0.5, 0.2, 0.05};
    int k, iteration, try_length, answered = 0;
    double merit = kc_roll_candidate(s);
    for (iteration = 0; iteration < n_iterations; iteration++) {
        NAME_info newest = *info;
        int solved, better = 0;
        double before = merit;
        if (!kc_all_finite((KC_HORIZON + 1) * KC_N_X, s->states)) {
            info->reason = NAME_REASON_STATE;
            break;
        }
        solved = kc_solve(s, w, &newest);
        info->iterations = newest.iterations;
        if (solved != KC_QP_SOLVED) {
            info->reason = solved == KC_QP_INFEASIBLE        ? NAME_REASON_INFEASIBLE
                           : solved == KC_QP_ITERATION_LIMIT ? NAME_REASON_ITERATION_LIMIT
                                                             : NAME_REASON_INACCURATE;
            break;
        }
        *info = newest;
        answered = 1;
        for (try_length = 0; try_length < 4 && !better; try_length++) {
            double value;
            for (k = 0; k < KC_HORIZON * KC_N_U; k++) {
                int v = kc_block[k / KC_N_U] * KC_N_U + k % KC_N_U;
                double u = s->candidate[k] + lengths[try_length] * w->x[v] * s->scale[v];
                s->trial[k] = kc_clip(u, kc_u_min[k % KC_N_U], kc_u_max[k % KC_N_U]);
            }
            kc_roll(s, s->trial, s->trial_states, s->trial_psi, s->trial_t);
            value = kc_merit(s, s->trial, s->trial_states);
            if (!(value <= merit * (1.0 + 1e-12))) continue;
            better = 1;
            merit = value;
            for (k = 0; k < KC_HORIZON * KC_N_U; k++) s->candidate[k] = s->trial[k];
            for (k = 0; k < (KC_HORIZON + 1) * KC_N_X; k++) s->states[k] = s->trial_states[k];
            for (k = 0; k < KC_HORIZON * KC_N_FEATURES; k++) s->psi[k] = s->trial_psi[k];
            for (k = 0; k < KC_HORIZON * KC_N_QY; k++) s->t[k] = s->trial_t[k];
        }
        if (!better || before - merit <= KC_SETTLED * fabs(before)) break;
    }
    if (!answered) return INFINITY;
    info->reason = NAME_REASON_NONE;
    return merit;
}

/* Without a plan to start from: the steady inputs, and the best full swing with one switch. Swing-ups have many local
 * optima; which one is found depends on the start. */
static double kc_optimise_cold(NAME_state *s, kc_qp_work *w, NAME_info *info) {
    int n = KC_N_ITERATIONS > KC_COLD_ITERATIONS ? KC_N_ITERATIONS : KC_COLD_ITERATIONS;
    double merit;
    kc_start_plan(s, s->steady);
    merit = kc_optimise(s, w, n, info);
#if KC_SWINGS
    {
        NAME_info other = *info;
        double best = INFINITY, second;
        int i, k, high, at = 0, upper = 0, stride = KC_HORIZON / 8 > 1 ? KC_HORIZON / 8 : 1;
        other.reason = NAME_REASON_NONE;
        for (i = 0; i < KC_HORIZON * KC_N_U; i++) s->best[i] = s->candidate[i];
        for (k = 0; k < KC_HORIZON; k += stride)
            for (high = 0; high < 2; high++) { /* early low, late high; then the other way round */
                double value;
                for (i = 0; i < KC_HORIZON * KC_N_U; i++)
                    s->trial[i] = (i / KC_N_U < k) == high ? kc_u_max[i % KC_N_U] : kc_u_min[i % KC_N_U];
                kc_start_plan(s, s->trial);
                value = kc_roll_candidate(s);
                if (value < best) {
                    best = value;
                    at = k;
                    upper = high;
                }
            }
        for (i = 0; i < KC_HORIZON * KC_N_U; i++)
            s->trial[i] = (i / KC_N_U < at) == upper ? kc_u_max[i % KC_N_U] : kc_u_min[i % KC_N_U];
        kc_start_plan(s, s->trial);
        second = kc_optimise(s, w, n, &other);
        info->iterations = other.iterations;
        if (second < merit) {
            merit = second;
            *info = other;
        } else {
            for (i = 0; i < KC_HORIZON * KC_N_U; i++) s->candidate[i] = s->best[i];
        }
    }
#endif
    return merit;
}

/* One sample; see the header. */
static int kc_control(NAME_state *s, const double *measurement, const double *reference, int n_rows, int preview,
                      double *u_out, NAME_info *info) {
    NAME_info local;
    kc_qp_work w;
    int i, k;
    double merit;
    if (info == 0) info = &local;
    info->status = NAME_OPTIMAL;
    info->reason = NAME_REASON_NONE;
    info->iterations = 0;
    info->kkt_residual = NAN;
    info->slack = 0.0;
    if (!kc_read(s, measurement)) info->reason = NAME_REASON_MEASUREMENT;
    else if (!kc_all_finite(n_rows * KC_N_Y, reference)) info->reason = NAME_REASON_REFERENCE;
    if (info->reason != NAME_REASON_NONE) return info->status = kc_fall_back(s, u_out);
    kc_set_references(s, reference, n_rows, preview);
    w.lam = s->lam;
    w.d = s->qp_d;
    w.r = s->r;
    w.work = s->work;
    w.value = s->value;
    if (s->age > 0 && s->age < KC_HORIZON) {
        for (k = 0; k < KC_HORIZON; k++)
            for (i = 0; i < KC_N_U; i++) {
                int from = s->age + k < KC_HORIZON ? s->age + k : KC_HORIZON - 1;
                s->trial[k * KC_N_U + i] = s->plan[from * KC_N_U + i];
            }
        kc_start_plan(s, s->trial);
        merit = kc_optimise(s, &w, KC_N_ITERATIONS, info);
    } else {
        merit = kc_optimise_cold(s, &w, info);
    }
    if (!isfinite(merit)) {
        if (info->reason == NAME_REASON_NONE) info->reason = NAME_REASON_STATE;
        info->slack = 0.0;
        if (info->reason == NAME_REASON_STATE || info->reason == NAME_REASON_INACCURATE) kc_restart(s);
        return info->status = kc_fall_back(s, u_out);
    }
    for (i = 0; i < KC_HORIZON * KC_N_U; i++)
        s->plan[i] = kc_clip(s->candidate[i], kc_u_min[i % KC_N_U], kc_u_max[i % KC_N_U]);
    for (i = 0; i < KC_N_U; i++) s->plan[i] = kc_admissible(s, i, s->plan[i]);
    for (i = 0; i < KC_N_U; i++) u_out[i] = s->u_last[i] = s->plan[i];
    s->has_input = 1;
    s->age = 1;
    return info->status;
}

void NAME_reset(NAME_state *s) {
    s->has_input = 0;
    s->started = 0;
    s->age = 0;
    s->has_target = 0;
    s->has_P = -1;
    s->end_converged = 0;
    s->hard_k = -1;
    s->soft_k = -1;
    kc_restart(s);
}

#if KC_DIAGNOSTICS
void NAME_predict(const NAME_state *s, const double *inputs, double *outputs) {
    double x[KC_N_X], next[KC_N_X], psi[KC_N_FEATURES > 0 ? KC_N_FEATURES : 1], t[KC_N_QY];
    int i, k;
    for (i = 0; i < KC_N_X; i++) x[i] = s->x[i];
    for (k = 0; k <= KC_HORIZON; k++) {
        for (i = 0; i < KC_N_Y; i++) outputs[k * KC_N_Y + i] = x[i];
        if (k == KC_HORIZON) break;
        kc_step(x, inputs + k * KC_N_U, s->d, psi, t, next);
        for (i = 0; i < KC_N_X; i++) x[i] = next[i];
    }
}
#endif
