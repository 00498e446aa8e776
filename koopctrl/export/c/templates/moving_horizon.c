/* Moving-horizon estimator of a lifted model: see koopctrl.controllers.estimation.moving_horizon_law. zeta, of the
 * Kalman filter above, holds the state and what is bounded at past samples; p is the likeliest state within the bounds. */

#if KC_N_WITHIN > 0
#if KC_STEADY
#define KC_WITHIN(name) kc_within_##name
#else
#define KC_WITHIN(name) s->within_##name
#define KC_WITHIN_RANK KC_TIGHT(1e-13, 1e-6) /* pivot of a correlation that is rounding */
#define KC_WITHIN_KNOWN 1e-9 /* standard deviation, relative to that of a first estimate, below which a quantity is known */

/* The covariance of entry j of what is bounded with that of which `row` is the covariance with all that the filter holds. */
static double kc_shown(const double *row, int j) {
    return j < KC_N_BOUNDED ? kc_dot(KC_N_S, kc_bounded + j * KC_N_S, row) : row[KC_N_S + j - KC_N_BOUNDED];
}

/* Deviations D, a factor F with F F' the correlation of what is bounded, and G = Cov(s, q) D^-1 F^-T, by a Cholesky
 * factorisation with pivots: any other factor turns eta alone. Tells whether all is finite. */
static int kc_load_within(NAME_state *s) {
    int i, j, k, m = KC_N_WITHIN, n = KC_N_MEMORY, *pivot = s->within_pivot;
    double *F = s->within_rows, *D = s->within_deviation, *left = s->within_left;
    for (i = 0; i < m; i++) {
        double *row = s->within_shown + i * n, unit = kc_within_unit[i], variance, floor;
        for (j = 0; j < n; j++) row[j] = 0.0;
        if (i < KC_N_BOUNDED)
            for (k = 0; k < KC_N_S; k++) kc_axpy(n, kc_bounded[i * KC_N_S + k], s->covariance + k * n, row);
        else
            kc_axpy(n, 1.0, s->covariance + (KC_N_S + i - KC_N_BOUNDED) * n, row);
        variance = kc_shown(row, i);
        if (!isfinite(variance)) return 0;
        floor = unit > 0.0 ? KC_WITHIN_KNOWN * unit : 1.0;
        D[i] = sqrt(fmax(variance, 0.0));
        left[i] = D[i] > floor ? 1.0 : 0.0;
        D[i] = fmax(D[i], floor);
        pivot[i] = i;
        for (j = 0; j < m; j++) F[i * m + j] = 0.0;
    }
    for (k = 0; k < m; k++) {
        int best = k, p;
        double root;
        for (i = k + 1; i < m; i++)
            if (left[pivot[i]] > left[pivot[best]]) best = i;
        p = pivot[best];
        if (!(left[p] > KC_WITHIN_RANK)) break;
        pivot[best] = pivot[k];
        pivot[k] = p;
        root = sqrt(left[p]);
        for (i = k; i < m; i++) {
            int r = pivot[i];
            double entry = i == k ? root
                                  : (kc_shown(s->within_shown + p * n, r) / D[p] / D[r] - kc_dot(k, F + p * m, F + r * m)) / root;
            if (left[r] <= 0.0) continue; /* known: nothing moves it */
            F[r * m + k] = entry;
            left[r] = i == k ? 0.0 : fmax(left[r] - entry * entry, 0.0);
        }
    }
    for (i = 0; i < KC_N_S; i++) {
        double *G = s->within_gain + i * m;
        for (j = 0; j < m; j++) G[j] = 0.0;
        for (j = 0; j < k; j++) {
            int p = pivot[j];
            G[j] = (s->within_shown[p * n + i] / D[p] - kc_dot(j, G, F + p * m)) / F[p * m + j];
            if (!isfinite(G[j])) return 0;
        }
    }
    return 1;
}
#endif

/* What is bounded, newest first; tells whether all of it is within its bounds. */
static int kc_set_within(NAME_state *s) {
    int i, within = 1;
    for (i = 0; i < KC_N_WITHIN; i++) {
        double q = i < KC_N_BOUNDED ? kc_dot(KC_N_S, kc_bounded + i * KC_N_S, s->zeta)
                                    : s->zeta[KC_N_S + i - KC_N_BOUNDED];
        s->within[i] = q;
        within = within && q >= kc_within_low[i] && q <= kc_within_high[i];
    }
    return within;
}

/* Project onto the bounds, in units in which the covariance is one; tells whether the answer is certified. */
static int kc_project_within(NAME_state *s) {
    const kc_qp qp = {KC_N_ETA, KC_N_WITHIN, 0, kc_within_one, KC_WITHIN(rows), kc_within_one, 0, 0, 0};
    kc_qp_work w;
    int i, status;
    for (i = 0; i < KC_N_WITHIN; i++)
        if (!isfinite(s->within[i])) return 0;
#if !KC_STEADY
    if (!kc_load_within(s)) return 0;
    s->eta_k = 0; /* the rows are other ones: no working set has been factored with them */
#endif
    for (i = 0; i < KC_N_ETA; i++) {
        s->eta_g[i] = 0.0;
        s->eta_lo[i] = -INFINITY;
        s->eta_hi[i] = INFINITY;
    }
    for (i = 0; i < KC_N_WITHIN; i++) {
        s->eta_lo[KC_N_ETA + i] = (kc_within_low[i] - s->within[i]) / KC_WITHIN(deviation)[i];
        s->eta_hi[KC_N_ETA + i] = (kc_within_high[i] - s->within[i]) / KC_WITHIN(deviation)[i];
    }
    w.Jt = s->eta_Jt;
    w.R = s->eta_R;
    w.x = s->eta_x;
    w.lam = s->eta_lam;
    w.d = s->eta_d;
    w.r = s->eta_r;
    w.work = s->eta_work;
    w.value = s->eta_value;
    w.active = s->eta_active;
    w.side = s->eta_side;
    w.k = s->eta_k - 1; /* a state of zeros has no working set yet */
    w.changes = s->eta_changes;
    status = kc_qp_solve(&qp, &w, s->eta_g, s->eta_lo, s->eta_hi, KC_WITHIN_ITERATIONS, s->eta_saved);
    s->eta_k = w.k + 1;
    s->eta_changes = w.changes;
    if (status != KC_QP_SOLVED) return 0;
    for (i = 0; i < KC_N_S; i++) s->p[i] += kc_dot(KC_N_ETA, KC_WITHIN(gain) + i * KC_N_ETA, s->eta_x);
    return 1;
}
#endif

/* Estimate at this sample; there is none until something has been measured. */
static int kc_read(NAME_state *s, const double *y) {
    int i;
    if (!kc_smooth(s, y)) {
        s->within_status = 0;
        return 0;
    }
    for (i = 0; i < KC_N_S; i++) s->p[i] = s->zeta[i];
    s->within_status = 1;
#if KC_N_WITHIN > 0
    if (!kc_set_within(s)) {
        s->within_status = kc_project_within(s) ? 2 : 3;
        if (s->within_status == 3 && s->n_fallbacks < INT_MAX) s->n_fallbacks++;
    }
#endif
    return 1;
}

#if KC_ALONE
int NAME_bounds_status(const NAME_state *s, int *n_fallbacks) {
    *n_fallbacks = s->n_fallbacks;
    return s->within_status;
}
#endif
