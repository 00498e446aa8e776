/* The recurrent network: steps and Jacobians. With raw x, u and psi = act(Wx x + Wu u + b),
 *
 *     y+ = y + sum_q m_q(u) (c_q + L_q x + V_q psi) + D u + d,     x+ = window(x, u, y+)
 *
 * x and u are counted from the training data's mean in these sums: far from it their digits would cancel.
 *
 * with monomials m_q of the standardised input and a constant disturbance d. Inputs are all of the model's, those moved
 * and those it is told of. */

#define KC_N_QY (KC_N_Q * KC_N_Y)

/* Where large outer weights cancel, code in floats has the network in doubles: data, features, and all sums of them. */
#if KC_WIDE_NETWORK
static KC_REAL kc_dot_real(int n, const KC_REAL *a, const KC_REAL *b) {
    KC_REAL sum = 0.0;
    int i;
    for (i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void kc_axpy_real(int n, KC_REAL alpha, const KC_REAL *x, KC_REAL *y) {
    int i;
    for (i = 0; i < n; i++) y[i] += alpha * x[i];
}
#else
#define kc_dot_real kc_dot
#define kc_axpy_real kc_axpy
#endif

/* Monomials of an input, and their gradients (n_q x n_u) unless dq is a null pointer. A monomial is the product of
 * up to two inputs; -1 stands for none. */
static void kc_monomials(const double *u, double *q, double *dq) {
    int i, j;
    for (i = 0; i < KC_N_Q; i++) {
        int a = kc_monomial[2 * i], b = kc_monomial[2 * i + 1];
        KC_REAL first = a < 0 ? (KC_REAL)1.0 : (u[a] - kc_u_mean[a]) / kc_u_scale[a];
        KC_REAL second = b < 0 ? (KC_REAL)1.0 : (u[b] - kc_u_mean[b]) / kc_u_scale[b];
        q[i] = (double)(first * second);
        if (dq == 0) continue;
        for (j = 0; j < KC_N_IN; j++) dq[i * KC_N_IN + j] = 0.0;
        if (a >= 0) dq[i * KC_N_IN + a] += (double)(second / kc_u_scale[a]);
        if (b >= 0) dq[i * KC_N_IN + b] += (double)(first / kc_u_scale[b]);
    }
}

/* t = c + L x + V psi at one point; psi is kept for the Jacobian. */
static void kc_terms(const double *x, const double *u, KC_REAL *psi, double *t) {
    KC_REAL dx[KC_N_X];
#if KC_LAYER_SEES_INPUT
    KC_REAL du[KC_N_IN];
#endif
    int i;
    for (i = 0; i < KC_N_X; i++) dx[i] = x[i] - kc_x_mean[i];
#if KC_LAYER_SEES_INPUT
    for (i = 0; i < KC_N_IN; i++) du[i] = u[i] - kc_u_mean[i];
#endif
    for (i = 0; i < KC_N_FEATURES; i++) {
        KC_REAL pre = kc_biases[i] + kc_dot_real(KC_N_X, kc_weights + i * KC_N_X, dx);
#if KC_LAYER_SEES_INPUT
        pre += kc_dot_real(KC_N_IN, kc_input_weights + i * KC_N_IN, du);
#endif
        psi[i] = KC_TANH ? KC_TANH_OF(pre) : pre > (KC_REAL)0.0 ? pre : (KC_REAL)0.0;
        if (!isfinite(pre)) psi[i] = pre; /* the comparison would hide it */
    }
    (void)u;
    for (i = 0; i < KC_N_QY; i++) {
        KC_REAL sum = kc_constant[i] + kc_dot_real(KC_N_X, kc_linear + i * KC_N_X, dx);
        t[i] = (double)(sum + kc_dot_real(KC_N_FEATURES, kc_outer + i * KC_N_FEATURES, psi));
    }
}

/* y+ = next, and the window moved on. */
static void kc_advance(const double *x, const double *u, const double *next, double *x_next) {
    int i, end = KC_OUTPUT_LAGS * KC_N_Y;
    for (i = KC_N_X - 1; i >= end + KC_N_IN; i--) x_next[i] = x[i - KC_N_IN];
    for (i = 0; i < KC_N_IN && end + i < KC_N_X; i++) x_next[end + i] = u[i];
    for (i = end - 1; i >= KC_N_Y; i--) x_next[i] = x[i - KC_N_Y];
    for (i = 0; i < KC_N_Y; i++) x_next[i] = next[i];
}

/* One step; psi and t are left for the Jacobian. */
static void kc_step(const double *x, const double *u, const double *d, KC_REAL *psi, double *t, double *x_next) {
    double q[KC_N_Q], next[KC_N_Y];
    KC_REAL du[KC_N_IN + 1];
    int i, j;
    for (i = 0; i < KC_N_IN; i++) du[i] = u[i] - kc_u_mean[i];
    kc_monomials(u, q, 0);
    kc_terms(x, u, psi, t);
    for (i = 0; i < KC_N_Y; i++) {
        KC_REAL moved = d[i] + kc_dot_real(KC_N_IN, kc_direct + i * KC_N_IN, du); /* small beside x */
        for (j = 0; j < KC_N_Q; j++) moved += q[j] * t[j * KC_N_Y + i];
        next[i] = (double)(x[i] + moved);
    }
    kc_advance(x, u, next, x_next);
}

#ifndef KC_NO_JACOBIAN
/* dy+/dx (n_y x n_x) and dy+/du (n_y x n_u) from psi and t of kc_step; the window's other rows are a shift. */
static void kc_jacobian(const double *u, const KC_REAL *psi, const double *t, double *y_x, double *y_u) {
    double q[KC_N_Q], dq[KC_N_Q * KC_N_IN];
    KC_REAL row_x[KC_N_X], row_u[KC_N_IN + 1];
    int i, j, k, f;
    kc_monomials(u, q, dq);
    for (i = 0; i < KC_N_Y; i++) {
        for (j = 0; j < KC_N_X; j++) row_x[j] = i == j ? 1.0 : 0.0;
        for (j = 0; j < KC_N_IN; j++) row_u[j] = kc_direct[i * KC_N_IN + j];
        for (k = 0; k < KC_N_Q; k++) {
            kc_axpy_real(KC_N_X, q[k], kc_linear + (k * KC_N_Y + i) * KC_N_X, row_x);
            for (j = 0; j < KC_N_IN; j++) row_u[j] += t[k * KC_N_Y + i] * dq[k * KC_N_IN + j];
        }
        for (f = 0; f < KC_N_FEATURES; f++) {
            KC_REAL seen = 0.0;
            for (k = 0; k < KC_N_Q; k++) seen += q[k] * kc_outer[(k * KC_N_Y + i) * KC_N_FEATURES + f];
            seen *= KC_TANH ? (KC_REAL)1.0 - psi[f] * psi[f] : (KC_REAL)(psi[f] > (KC_REAL)0.0 ? 1.0 : 0.0);
            for (j = 0; j < KC_N_X; j++) row_x[j] += seen * kc_weights[f * KC_N_X + j];
#if KC_LAYER_SEES_INPUT
            for (j = 0; j < KC_N_IN; j++) row_u[j] += seen * kc_input_weights[f * KC_N_IN + j];
#endif
        }
        for (j = 0; j < KC_N_X; j++) y_x[i * KC_N_X + j] = (double)row_x[j];
        for (j = 0; j < KC_N_IN; j++) y_u[i * KC_N_IN + j] = (double)row_u[j];
    }
}
#endif
