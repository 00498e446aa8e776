/* Moving-horizon estimator of a lifted model: see koopctrl.controllers.estimation.moving_horizon_law. zeta, of the
 * Kalman filter above, holds the state and what is bounded at past samples; p is the likeliest state within the bounds. */

#if KC_N_WITHIN > 0
static const kc_qp kc_within_qp = {KC_N_ETA, KC_N_WITHIN, 0, kc_within_one, kc_within_rows, kc_within_one, 0, 0, 0};

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
    kc_qp_work w;
    int i, status;
    for (i = 0; i < KC_N_WITHIN; i++)
        if (!isfinite(s->within[i])) return 0;
    for (i = 0; i < KC_N_ETA; i++) {
        s->eta_g[i] = 0.0;
        s->eta_lo[i] = -INFINITY;
        s->eta_hi[i] = INFINITY;
    }
    for (i = 0; i < KC_N_WITHIN; i++) {
        s->eta_lo[KC_N_ETA + i] = (kc_within_low[i] - s->within[i]) / kc_within_deviation[i];
        s->eta_hi[KC_N_ETA + i] = (kc_within_high[i] - s->within[i]) / kc_within_deviation[i];
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
    status = kc_qp_solve(&kc_within_qp, &w, s->eta_g, s->eta_lo, s->eta_hi, KC_WITHIN_ITERATIONS, s->eta_saved);
    s->eta_k = w.k + 1;
    s->eta_changes = w.changes;
    if (status != KC_QP_SOLVED) return 0;
    for (i = 0; i < KC_N_S; i++) s->p[i] += kc_dot(KC_N_ETA, kc_within_gain + i * KC_N_ETA, s->eta_x);
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
