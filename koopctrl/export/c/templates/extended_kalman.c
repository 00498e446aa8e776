/* Extended Kalman filter of the window and constant disturbances: see
 * koopctrl.controllers.estimation.extended_kalman_law, step by step. p holds [x; disturbances]. */

/* Window, disturbance on the next outputs, on the inputs and on the measured outputs, as the controller has them. */
static void kc_split(NAME_state *s) {
    int i;
    for (i = 0; i < KC_N_X; i++) s->x[i] = s->p[i];
#if KC_DISTURBANCE == 1
    for (i = 0; i < KC_N_MEASURED; i++) s->beside[kc_channel[i]] = s->p[KC_N_X + i];
#elif KC_DISTURBANCE == 2 || KC_DISTURBANCE == 4
    for (i = 0; i < KC_N_IN; i++) s->offset[i] = s->p[KC_N_X + i];
#if KC_N_BESIDE > 0
    for (i = 0; i < KC_N_Y; i++)
        s->d[i] = kc_dot(KC_N_BESIDE, kc_move_beside + i * KC_N_BESIDE, s->p + KC_N_X + KC_N_IN);
#endif
#elif KC_DISTURBANCE == 3
    for (i = 0; i < KC_N_Y; i++) s->d[i] = s->p[KC_N_X + i];
#endif
}

/* Nothing is known: the training data's mean and spread. */
static void kc_unknown(NAME_state *s) {
    int i;
    for (i = 0; i < KC_N_P; i++) s->p[i] = kc_mean[i];
    for (i = 0; i < KC_N_P * KC_N_P; i++) s->covariance[i] = kc_P0[i];
    s->started = 0;
}

#if KC_UNSCENTED || KC_WINDOWED
/* P = L L', L lower triangular; a column is zero where nothing is left of a variance. The points below depend on which
 * factor is taken. */
static void kc_semidefinite_factor(const double *P, double *L) {
    int i, j, n = KC_N_P;
    for (i = 0; i < n * n; i++) L[i] = 0.0;
    for (j = 0; j < n; j++) {
        double left = P[j * n + j] - kc_dot(j, L + j * n, L + j * n), pivot;
        if (!(left > KC_NOTHING * P[j * n + j])) continue;
        pivot = sqrt(left);
        for (i = j; i < n; i++) L[i * n + j] = (P[i * n + j] - kc_dot(j, L + i * n, L + j * n)) / pivot;
    }
}
#endif

#if KC_UNSCENTED
/* The step of one point. */
static void kc_send_point(NAME_state *s, const double *point, double *next) {
    double t[KC_N_QY], acting[KC_N_IN];
    int i;
    for (i = 0; i < KC_N_P; i++) s->p[i] = point[i];
    kc_split(s);
    for (i = 0; i < KC_N_IN; i++) acting[i] = s->acted[i] + s->offset[i];
    kc_step(s->x, acting, s->d, s->psi_here, t, next);
    for (i = KC_N_X; i < KC_N_P; i++) next[i] = point[i];
}

/* Mean and covariance one step on, in s->next and s->covariance, from points around the estimate: see
 * koopctrl.controllers.estimation.unscented_kalman_law. */
static void kc_moments(NAME_state *s) {
    double *P = s->covariance, *L = s->product, *f = s->F, *moved = s->F + KC_N_P, *point = s->point;
    int i, j, k, side, n = KC_N_P;
    for (i = 0; i < n; i++) s->kept_p[i] = s->p[i];
    kc_semidefinite_factor(P, L);
    for (i = 0; i < n * n; i++) P[i] = 0.0;
    kc_send_point(s, s->kept_p, f);
    for (i = 0; i < n; i++) s->next[i] = 0.0;
    for (side = -1; side <= 1; side += 2)
        for (k = 0; k < n; k++) {
            for (i = 0; i < n; i++) point[i] = s->kept_p[i] + (double)side * kc_point_spread[0] * L[i * n + k];
            kc_send_point(s, point, moved);
            for (i = 0; i < n; i++) {
                moved[i] -= f[i];
                s->next[i] += moved[i];
            }
            for (i = 0; i < n; i++)
                for (j = 0; j <= i; j++) P[i * n + j] += moved[i] * moved[j];
        }
    for (i = 0; i < n; i++) {
        s->next[i] = f[i] + kc_point_spread[1] * s->next[i];
        for (j = 0; j <= i; j++)
            P[i * n + j] = P[j * n + i] = kc_point_spread[1] * P[i * n + j] + kc_noise[i * n + j];
    }
}
#else
/* Jacobian of one step in [x; disturbances], and the step itself in s->next. */
static void kc_linearise(NAME_state *s, const double *acting) {
    double t[KC_N_QY], y_x[KC_N_Y * KC_N_X], y_u[KC_N_Y * KC_N_IN];
    double *F = s->F;
    int i, j, n = KC_N_P, end = KC_OUTPUT_LAGS * KC_N_Y;
    kc_step(s->x, acting, s->d, s->psi_here, t, s->next);
    for (i = KC_N_X; i < n; i++) s->next[i] = s->p[i];
    kc_jacobian(acting, s->psi_here, t, y_x, y_u);
    for (i = 0; i < n * n; i++) F[i] = 0.0;
    for (i = 0; i < n; i++) {
        if (i < KC_N_Y) {
            for (j = 0; j < KC_N_X; j++) F[i * n + j] = y_x[i * KC_N_X + j];
#if KC_DISTURBANCE == 2 || KC_DISTURBANCE == 4
            for (j = 0; j < KC_N_IN; j++) F[i * n + KC_N_X + j] = y_u[i * KC_N_IN + j];
#if KC_N_BESIDE > 0
            for (j = 0; j < KC_N_BESIDE; j++)
                F[i * n + KC_N_X + KC_N_IN + j] = kc_move_beside[i * KC_N_BESIDE + j];
#endif
#elif KC_DISTURBANCE == 3
            F[i * n + KC_N_X + i] = 1.0;
#endif
        } else if (i < end) {
            F[i * n + i - KC_N_Y] = 1.0;
        } else if (i < KC_N_X) {
            if (i >= end + KC_N_IN) F[i * n + i - KC_N_IN] = 1.0;
#if KC_DISTURBANCE == 2 || KC_DISTURBANCE == 4
            else F[i * n + KC_N_X + i - end] = 1.0; /* past inputs are those that acted */
#endif
        } else {
            F[i * n + i] = 1.0;
        }
    }
}
#endif

#if !KC_UNSCENTED
/* Covariance one step on, from the Jacobian in s->F. */
static void kc_propagate(NAME_state *s) {
    double *P = s->covariance, *W = s->product;
    int i, j, n = KC_N_P;
    for (i = 0; i < n; i++) {
        for (j = 0; j < n; j++) W[i * n + j] = 0.0;
        for (j = 0; j < n; j++)
            if (s->F[i * n + j] != 0.0) kc_axpy(n, s->F[i * n + j], P + j * n, W + i * n);
    }
    for (i = 0; i < n; i++)
        for (j = 0; j <= i; j++)
            P[i * n + j] = P[j * n + i] = kc_dot(n, W + i * n, s->F + j * n) + kc_noise[i * n + j];
}
#endif

/* Advance by one sample under the inputs that acted; a prediction that has run away is forgotten. */
static void kc_predict_state(NAME_state *s) {
    double *P = s->covariance;
    int i, n = KC_N_P, held = 1;
#if KC_UNSCENTED
    kc_moments(s);
#else
    double acting[KC_N_IN];
    for (i = 0; i < KC_N_IN; i++) acting[i] = s->acted[i] + s->offset[i];
    kc_linearise(s, acting);
    kc_propagate(s);
#endif
    for (i = 0; i < KC_N_Y; i++) held = held && fabs(s->next[i] - kc_mean[i]) <= kc_y_limit[i];
    for (i = 0; i < n; i++) held = held && P[i * n + i] <= kc_variance_limit[i];
    for (i = 0; i < n; i++) s->p[i] = s->next[i];
    if (held) return;
    kc_unknown(s);
    s->in_a_row = 0;
}

/* The window filled with what is measured, the rest at the training mean; no disturbance. */
static void kc_start_window(NAME_state *s, const double *y, int n_here, const int *here) {
    int i, k;
    kc_unknown(s);
    for (i = 0; i < KC_OUTPUT_LAGS * KC_N_Y; i++) s->p[i] = kc_y_mean[i % KC_N_Y];
    for (i = 0; i < (KC_INPUT_LAGS - 1) * KC_N_IN; i++) s->p[KC_OUTPUT_LAGS * KC_N_Y + i] = (double)kc_u_mean[i % KC_N_IN];
    for (i = KC_N_X; i < KC_N_P; i++) s->p[i] = 0.0;
    for (k = 0; k < n_here; k++)
        for (i = 0; i < KC_OUTPUT_LAGS; i++) s->p[i * KC_N_Y + kc_channel[here[k]]] = y[here[k]];
}

/* Correct by what is measured; the first measurement starts the filter. kept_p is what it was before. */
static void kc_take_in(NAME_state *s, const double *y) {
    int here[KC_N_MEASURED], n_here = 0, i, n = KC_N_P, finite;
    for (i = 0; i < KC_N_MEASURED; i++)
        if (isfinite(y[i])) here[n_here++] = i;
    s->rejected = 0;
    if (n_here == 0) return;
    if (!s->started) kc_start_window(s, y, n_here, here);
    s->started = 1;
    for (i = 0; i < n; i++) s->kept_p[i] = s->p[i];
    for (i = 0; i < n * n; i++) s->kept_P[i] = s->covariance[i];
    kc_correct(s, y, n_here, here, 1);
    finite = s->started && kc_all_finite(n, s->p) && kc_all_finite(n * n, s->covariance);
    s->started = 1;
    if (!finite) { /* what overflows is no measurement */
        for (i = 0; i < n; i++) s->p[i] = s->kept_p[i];
        for (i = 0; i < n * n; i++) s->covariance[i] = s->kept_P[i];
        s->rejected = 1;
        if (s->n_rejected < INT_MAX) s->n_rejected++;
    }
}

#if !KC_WINDOWED
/* Estimate at this sample; there is none until something has been measured. */
static int kc_read(NAME_state *s, const double *y) {
    if (s->has_input && s->started) kc_predict_state(s);
    kc_take_in(s, y);
    if (!s->started) return 0;
    kc_split(s);
    return 1;
}
#endif
