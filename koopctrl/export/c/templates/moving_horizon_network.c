/* Moving-horizon estimator of a network: see koopctrl.controllers.estimation.moving_horizon_network and window_problem.
 * The filter above judges measurements and is what is fallen back on; p is moved to the newest estimate within the bounds.
 * Samples of the window stand one after another, the oldest first. */

#define KC_N_SAMPLES (KC_WINDOW + 1)
#define KC_WINDOW_SETTLED KC_TIGHT(1e-6, 1e-4) /* largest change, in the states' units, from which on no further step is taken */
#define KC_KNOWN 1e-9 /* standard deviation of a bounded quantity, in its unit, below which it is known */

/* The network's step and Jacobian, s->next and s->F, at a state of the window; p is overwritten. */
static void kc_linearise_at(NAME_state *s, const double *point, const double *u) {
    double acting[KC_N_IN];
    int i;
    for (i = 0; i < KC_N_P; i++) s->p[i] = point[i];
    kc_split(s);
    for (i = 0; i < KC_N_IN; i++) acting[i] = u[i] + s->offset[i];
    kc_linearise(s, acting);
}

/* A window of one sample, at a first estimate. */
static void kc_begin_window(NAME_state *s, const double *first) {
    int i;
    for (i = 0; i < KC_N_P; i++) s->window_s[i] = s->arrival[i] = first[i];
    for (i = 0; i < KC_N_P * KC_N_P; i++) s->arrival_P[i] = kc_P0[i];
    for (i = 0; i < KC_N_SAMPLES * KC_N_MEASURED; i++) s->window_seen[i] = 0;
    s->n_window = 1;
}

static void kc_shift_window(NAME_state *s) {
    int i;
    for (i = 0; i < KC_WINDOW * KC_N_MEASURED; i++) {
        s->window_y[i] = s->window_y[i + KC_N_MEASURED];
        s->window_seen[i] = s->window_seen[i + KC_N_MEASURED];
    }
    for (i = 0; i < (KC_WINDOW - 1) * KC_N_IN; i++) s->window_u[i] = s->window_u[i + KC_N_IN];
    for (i = 0; i < KC_WINDOW * KC_N_P; i++) s->window_s[i] = s->window_s[i + KC_N_P];
    for (i = 0; i < KC_N_MEASURED; i++) s->window_seen[KC_WINDOW * KC_N_MEASURED + i] = 0;
    s->n_window--;
}

/* The oldest sample goes into the arrival cost: a step of the extended Kalman filter, linearised within the bounds. */
static void kc_drop_oldest(NAME_state *s) {
    int here[KC_N_MEASURED], n_here = 0, i, n = KC_N_P;
    for (i = 0; i < KC_N_MEASURED; i++)
        if (s->window_seen[i]) here[n_here++] = i;
    for (i = 0; i < n; i++) {
        s->kept_p[i] = s->p[i];
        s->p[i] = s->arrival[i];
    }
    for (i = 0; i < n * n; i++) {
        s->kept_P[i] = s->covariance[i];
        s->covariance[i] = s->arrival_P[i];
    }
    kc_correct(s, s->window_y, n_here, here, 0);
    s->started = 1;
    for (i = 0; i < n; i++) s->window_c[i] = s->p[i] - s->window_s[i];
    kc_linearise_at(s, s->window_s, KC_WINDOW > 0 ? s->window_u : s->acted);
    kc_propagate(s);
    for (i = 0; i < n; i++) s->arrival[i] = s->next[i] + kc_dot(n, s->F + i * n, s->window_c);
    for (i = 0; i < n * n; i++) {
        s->arrival_P[i] = s->covariance[i];
        s->covariance[i] = s->kept_P[i];
    }
    for (i = 0; i < n; i++) s->p[i] = s->kept_p[i];
    kc_shift_window(s);
}

/* One sample on: p is the filter's prediction. */
static void kc_push_sample(NAME_state *s) {
    int i;
    if (s->n_window > KC_WINDOW) kc_drop_oldest(s);
    for (i = 0; i < KC_N_IN && KC_WINDOW > 0; i++) s->window_u[(s->n_window - 1) * KC_N_IN + i] = s->acted[i];
    for (i = 0; i < KC_N_P; i++) s->window_s[s->n_window * KC_N_P + i] = s->p[i];
    s->n_window++;
}

/* States c + Gamma nu of the window, linearised along its last estimates. */
static void kc_condense_window(NAME_state *s) {
    int i, j, l, n = KC_N_P, n_v = KC_N_NU;
    double *gamma = s->window_gamma, *c = s->window_c;
    for (i = 0; i < s->n_window * n * n_v; i++) gamma[i] = 0.0;
    kc_semidefinite_factor(s->arrival_P, s->product);
    for (i = 0; i < n; i++) {
        for (j = 0; j < n; j++) gamma[i * n_v + j] = s->product[i * n + j];
        c[i] = s->arrival[i];
    }
    for (j = 0; j + 1 < s->n_window; j++) {
        int known = n + j * KC_N_OMEGA;
        const double *before = gamma + j * n * n_v, *at = s->window_s + j * n;
        double *now = gamma + (j + 1) * n * n_v;
        kc_linearise_at(s, at, s->window_u + j * KC_N_IN);
        for (i = 0; i < n; i++) {
            const double *F = s->F + i * n;
            double value = s->next[i];
            for (l = 0; l < n; l++) {
                if (F[l] != 0.0) kc_axpy(known, F[l], before + l * n_v, now + i * n_v);
                value += F[l] * (c[j * n + l] - at[l]);
            }
            c[(j + 1) * n + i] = value;
            for (l = 0; l < KC_N_OMEGA; l++) now[i * n_v + known + l] = kc_noise_root[i * KC_N_OMEGA + l];
        }
    }
}

/* Hessian and gradient: the prior's squares, and what was measured, whitened. Tells whether they have factors. */
static int kc_pose_window(NAME_state *s) {
    int i, j, k, l, n_v = KC_N_NU, n = KC_N_P;
    double *H = s->window_H, *g = s->window_g;
    for (i = 0; i < n_v * n_v; i++) H[i] = 0.0;
    for (i = 0; i < n_v; i++) {
        H[i * n_v + i] = 1.0;
        g[i] = 0.0;
    }
    for (j = 0; j < s->n_window; j++) {
        double S[KC_N_MEASURED * KC_N_MEASURED] = {0.0}, L[KC_N_MEASURED * KC_N_MEASURED] = {0.0};
        double Linv[KC_N_MEASURED * KC_N_MEASURED] = {0.0}, error[KC_N_MEASURED] = {0.0};
        int here[KC_N_MEASURED], m = 0, used = n + j * KC_N_OMEGA;
        for (i = 0; i < KC_N_MEASURED; i++)
            if (s->window_seen[j * KC_N_MEASURED + i]) here[m++] = i;
        for (k = 0; k < m; k++) {
            for (l = 0; l < m; l++) S[k * m + l] = kc_R_noise[here[k] * KC_N_MEASURED + here[l]];
            error[k] = s->window_y[j * KC_N_MEASURED + here[k]] - kc_dot(n, kc_C + here[k] * n, s->window_c + j * n);
        }
        if (m > 0 && !kc_factor(m, S, L, Linv)) return 0;
        for (k = 0; k < m; k++) {
            double *row = s->window_row, whitened = 0.0;
            for (i = 0; i < used; i++) row[i] = 0.0;
            for (l = 0; l <= k; l++) {
                const double *C = kc_C + here[l] * n;
                whitened += Linv[k * m + l] * error[l];
                for (i = 0; i < n; i++)
                    if (C[i] != 0.0) kc_axpy(used, Linv[k * m + l] * C[i], s->window_gamma + (j * n + i) * n_v, row);
            }
            for (i = 0; i < used; i++) kc_axpy(used, row[i], row, H + i * n_v);
            kc_axpy(used, -whitened, row, g);
        }
    }
    return kc_all_finite(n_v * n_v, H) && kc_all_finite(n_v, g) && kc_factor(n_v, H, s->window_L, s->window_Linv);
}

#if KC_N_BOUNDED > 0
/* The bounded combinations of all samples as rows in nu; tells whether the free optimum in eta_x obeys them. */
static int kc_bound_window(NAME_state *s) {
    int b, i, j, obeyed = 1, n = KC_N_P, n_v = KC_N_NU;
    for (j = 0; j < s->n_window; j++)
        for (b = 0; b < KC_N_BOUNDED; b++) {
            int k = j * KC_N_BOUNDED + b;
            const double *E = kc_bounded + b * n;
            double *row = s->window_rows + k * n_v, level = kc_dot(n, E, s->window_c + j * n), at;
            for (i = 0; i < n_v; i++) row[i] = 0.0;
            for (i = 0; i < n; i++)
                if (E[i] != 0.0) kc_axpy(n_v, E[i], s->window_gamma + (j * n + i) * n_v, row);
            s->eta_lo[n_v + k] = kc_within_low[b] - level;
            s->eta_hi[n_v + k] = kc_within_high[b] - level;
            at = kc_dot(n_v, row, s->eta_x);
            obeyed = obeyed && at >= s->eta_lo[n_v + k] && at <= s->eta_hi[n_v + k];
        }
    return obeyed;
}

/* The optimum within the bounds, each in units of its quantity's deviation; tells whether it is certified. */
static int kc_constrain_window(NAME_state *s) {
    kc_qp qp = {KC_N_NU, KC_N_SAMPLES * KC_N_BOUNDED, 0, 0, 0, 0, 0, 0, 0};
    kc_qp_work w;
    int b, i, k, n_v = KC_N_NU;
    for (i = 0; i < n_v; i++) {
        s->eta_lo[i] = -INFINITY;
        s->eta_hi[i] = INFINITY;
    }
    for (k = 0; k < KC_N_SAMPLES * KC_N_BOUNDED; k++) {
        double *row = s->window_rows + k * n_v, deviation = 0.0;
        if (k >= s->n_window * KC_N_BOUNDED) {
            for (i = 0; i < n_v; i++) row[i] = 0.0;
            s->eta_lo[n_v + k] = -INFINITY;
            s->eta_hi[n_v + k] = INFINITY;
            continue;
        }
        b = k % KC_N_BOUNDED;
        for (i = 0; i < n_v; i++) {
            double entry = kc_dot(i + 1, s->window_Linv + i * n_v, row);
            deviation += entry * entry;
        }
        deviation = fmax(sqrt(deviation), KC_KNOWN * kc_bounded_unit[b]);
        for (i = 0; i < n_v; i++) row[i] /= deviation;
        s->eta_lo[n_v + k] /= deviation;
        s->eta_hi[n_v + k] /= deviation;
    }
    qp.H = s->window_H;
    qp.A = s->window_rows;
    qp.Linv = s->window_Linv;
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
    w.k = -1; /* the Hessian is another one at every step */
    w.changes = 0;
    return kc_qp_solve(&qp, &w, s->window_g, s->eta_lo, s->eta_hi, KC_WITHIN_ITERATIONS, s->eta_saved) == KC_QP_SOLVED;
}
#endif

/* One Gauss-Newton step of the window: new states, and the status 1 or 2 where bounds act; 0 without an answer. */
static int kc_step_window(NAME_state *s, double *moved) {
    int i, j, status = 1, n = KC_N_P, n_v = KC_N_NU;
    double *nu = s->eta_x;
    kc_condense_window(s);
    if (!kc_pose_window(s)) return 0;
    for (i = 0; i < n_v; i++) s->window_row[i] = kc_dot(i + 1, s->window_Linv + i * n_v, s->window_g);
    for (i = 0; i < n_v; i++) nu[i] = 0.0;
    for (i = 0; i < n_v; i++) kc_axpy(i + 1, -s->window_row[i], s->window_Linv + i * n_v, nu);
#if KC_N_BOUNDED > 0
    if (!kc_bound_window(s)) {
        if (!kc_constrain_window(s)) return 0;
        status = 2;
    }
#endif
    for (i = 0; i < n; i++) { /* the newest one has to be near enough to the training data */
        int newest = (s->n_window - 1) * n + i;
        double value = s->window_c[newest] + kc_dot(n_v, s->window_gamma + newest * n_v, nu);
        if (!isfinite(value) || (i < KC_N_Y && !(fabs(value - kc_mean[i]) <= kc_y_limit[i]))) return 0;
    }
    *moved = 0.0;
    for (j = 0; j < s->n_window; j++)
        for (i = 0; i < n; i++) {
            int k = j * n + i;
            double value = s->window_c[k] + kc_dot(n_v, s->window_gamma + k * n_v, nu);
            *moved = fmax(*moved, fabs(value - s->window_s[k]) / kc_entry_size[i]);
            s->window_s[k] = value;
        }
    return status;
}

/* The trajectory of the window, p at its end; else the filter's p. */
static void kc_solve_window(NAME_state *s) {
    int i, k, newest = (s->n_window - 1) * KC_N_P;
    double moved = 0.0;
    for (i = 0; i < KC_N_P; i++) s->kept_p[i] = s->p[i];
    for (k = 0; k < KC_WINDOW_ITERATIONS; k++) {
        s->within_status = kc_step_window(s, &moved);
        if (s->within_status == 0 || moved <= KC_WINDOW_SETTLED) break;
    }
    if (s->within_status == 0) {
        s->within_status = 3;
        if (s->n_fallbacks < INT_MAX) s->n_fallbacks++;
        for (i = 0; i < KC_N_P; i++) s->window_s[newest + i] = s->kept_p[i];
    }
    for (i = 0; i < KC_N_P; i++) s->p[i] = s->window_s[newest + i];
}

/* Estimate at this sample; there is none until something has been measured. */
static int kc_read(NAME_state *s, const double *y) {
    int i, was, any = 0;
    if (s->has_input && s->started) {
        kc_predict_state(s);
        if (s->started) kc_push_sample(s);
        else s->n_window = s->within_status = 0;
    }
    was = s->started;
    kc_take_in(s, y);
    if (s->started && !was) kc_begin_window(s, s->kept_p);
    if (!s->started || s->n_window == 0) return 0;
    for (i = 0; i < KC_N_MEASURED; i++) any = any || isfinite(y[i]);
    if (any && !s->rejected)
        for (i = 0; i < KC_N_MEASURED; i++) {
            int k = (s->n_window - 1) * KC_N_MEASURED + i;
            if (isfinite(y[i])) s->window_y[k] = y[i];
            s->window_seen[k] = s->window_seen[k] || isfinite(y[i]);
        }
    kc_solve_window(s);
    kc_split(s);
    return 1;
}

#if KC_ALONE
int NAME_bounds_status(const NAME_state *s, int *n_fallbacks) {
    *n_fallbacks = s->n_fallbacks;
    return s->within_status;
}
#endif
