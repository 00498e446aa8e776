/* The network's problem along one plan: what it aims at, its cost, and the QP in the plan's change. */

#define KC_OBEYED KC_TIGHT(1e-6, 1e-4) /* excess over a bound, relative to it or to the data, up to which it counts as obeyed */
#define KC_NO_MOVE KC_TIGHT(1e-9, 1e-5) /* excess over a bound on moves, relative to the input and its spread, that is rounding */
#define KC_N_ROWS (KC_N_HARD + KC_N_E * KC_HORIZON + KC_N_END)
/* Weights of step k. */
#define KC_Q_AT(k) (kc_stage_Q + KC_VARIES * (k) * KC_N_Y * KC_N_Y)
#define KC_R_AT(k) (kc_stage_R + KC_VARIES * (k) * KC_N_U * KC_N_U)
#define KC_S_AT(k) (kc_stage_S + KC_VARIES * (k) * KC_N_U * KC_N_U)
/* Bounds on the outputs and states that step k leads to. */
#define KC_E_MIN(k) (kc_e_min + KC_TIGHTENED * (k) * KC_N_E)
#define KC_E_MAX(k) (kc_e_max + KC_TIGHTENED * (k) * KC_N_E)

/* References as entries of the window: of an output that is not tracked whatever makes the steady inputs smooth. */
static void kc_complete_references(NAME_state *s, const kc_asked *q) {
    const double *end = kc_reference(q->reference, q->n_rows, KC_HORIZON);
    int i, k;
    for (k = 0; k <= KC_HORIZON; k++) {
        const double *r = kc_reference(q->reference, q->n_rows, k);
        for (i = 0; i < KC_N_Y; i++) {
            double value = isnan(r[i]) ? (isnan(end[i]) ? kc_default_reference[i] : end[i]) : r[i];
            s->marks[k * KC_N_Y + i] = isnan(r[i]) ? 0.0 : 1.0;
            s->wanted[k * KC_N_Y + i] = value - s->beside[i];
        }
    }
}

/* What outputs shall follow, inputs stay near, and the end's weight. */
static void kc_set_references(NAME_state *s, const kc_asked *q) {
    int i, k;
    kc_complete_references(s, q);
    for (i = 0; i < KC_N_U; i++) s->wish[i] = q->input != 0 && q->n_input_rows == 0 ? q->input[i] : kc_rest_u[i];
    kc_find_target(s, kc_begin_row(s, KC_HORIZON));
    if (q->preview) kc_find_rows(s);
    else s->has_rows = 0;
    (void)kc_begin_row(s, KC_HORIZON);
    for (k = 0; k <= KC_HORIZON; k++) {
        for (i = 0; i < KC_N_Y; i++)
            s->tracked[k * KC_N_Y + i] = !q->preview && s->end_converged ? s->end_x[i] : s->wanted[k * KC_N_Y + i];
        for (i = 0; i < KC_N_U && k < KC_HORIZON && !q->preview; i++) s->steady[k * KC_N_U + i] = s->end_u[i];
    }
    for (k = 0; k < KC_HORIZON * KC_N_U && q->n_input_rows > 0; k++) {
        int row = k / KC_N_U < q->n_input_rows ? k / KC_N_U : q->n_input_rows - 1;
        s->steady[k] = q->input[row * KC_N_U + k % KC_N_U];
    }
#if KC_RICCATI
    if (s->has_P < 0) s->has_P = s->end_converged && kc_riccati(s, s->end_x, s->end_u);
#else
    s->has_P = 0;
#endif
}

static void kc_roll(NAME_state *s, const double *plan, double *states, KC_REAL *psi, double *t) {
    double all[KC_N_IN];
    int k;
    for (k = 0; k < KC_HORIZON; k++) {
        kc_join_acting(s, plan + k * KC_N_U, KC_DELAY + k, all);
        kc_step(states + k * KC_N_X, all, s->d, psi + k * KC_N_FEATURES, t + k * KC_N_QY, states + (k + 1) * KC_N_X);
    }
}

/* The trial becomes the candidate. */
static void kc_adopt(NAME_state *s) {
    int k;
    for (k = 0; k < KC_HORIZON * KC_N_U; k++) s->candidate[k] = s->trial[k];
    for (k = 0; k < (KC_HORIZON + 1) * KC_N_X; k++) s->states[k] = s->trial_states[k];
    for (k = 0; k < KC_HORIZON * KC_N_FEATURES; k++) s->psi[k] = s->trial_psi[k];
    for (k = 0; k < KC_HORIZON * KC_N_QY; k++) s->t[k] = s->trial_t[k];
}

/* v' M v */
static double kc_quadratic(int n, const double *M, const double *v) {
    double sum = 0.0;
    int i;
    for (i = 0; i < n; i++) sum += v[i] * kc_dot(n, M + i * n, v);
    return sum;
}

#if KC_N_E > 0 || KC_N_END > 0
/* The bound of row k of those on outputs and states. */
static int kc_bound_of(int k) { return k < KC_N_E * KC_HORIZON ? k % (KC_N_E > 0 ? KC_N_E : 1) : k - KC_N_E * (KC_HORIZON - 1); }

/* Cost of relaxing bound i: combinations first, then the terminal set's. */
static double kc_relaxation(const NAME_state *s, int i, double value, double low, double high) {
    double excess = fmax(value - high, 0.0) + fmax(low - value, 0.0);
    (void)s;
    return kc_penalty[i] * excess + kc_penalty[KC_N_E + KC_N_END + i] * excess * excess;
}
#endif

#if KC_N_END > 0
/* Combination i of the terminal set: it counts from the target. */
static double kc_at_end(const NAME_state *s, int i, const double *states) {
    double sum = 0.0;
    int j;
    for (j = 0; j < KC_N_X; j++) sum += kc_E_end[i * KC_N_X + j] * (states[KC_HORIZON * KC_N_X + j] - s->end_x[j]);
    return sum;
}
#endif

/* Cost of a plan along its roll-out, relaxations included; infinite unless it is a number. */
static double kc_merit(const NAME_state *s, const double *plan, const double *states) {
    double cost = 0.0, last[KC_N_X], error[KC_N_Y], du[KC_N_U];
    int i, k, broken = 0, n_stage = s->use_P ? KC_HORIZON - 1 : KC_HORIZON;
    for (k = 0; k < KC_HORIZON; k++) {
        const double *x = states + (k + 1) * KC_N_X, *u = plan + k * KC_N_U;
        if (k < n_stage) {
            for (i = 0; i < KC_N_Y; i++)
                error[i] = s->marks[(k + 1) * KC_N_Y + i] * (x[i] - s->tracked[(k + 1) * KC_N_Y + i]);
            cost += kc_quadratic(KC_N_Y, KC_Q_AT(k), error);
        }
        for (i = 0; i < KC_N_U; i++) du[i] = u[i] - s->steady[k * KC_N_U + i];
        cost += kc_quadratic(KC_N_U, KC_R_AT(k), du);
        for (i = 0; i < KC_N_U; i++) {
            du[i] = u[i] - (k ? u[i - KC_N_U] : kc_effective_last(s, i));
            if (fmax(du[i] - kc_du_max[i], kc_du_min[i] - du[i])
                > kc_move_tolerance[i] + KC_NO_MOVE * (kc_move_scale[i] + fabs(kc_effective_last(s, i))))
                broken = 1;
        }
#if KC_RATE_COST
        cost += kc_quadratic(KC_N_U, KC_S_AT(k), du);
#endif
#if KC_N_E > 0
        for (i = 0; i < KC_N_E; i++)
            cost += kc_relaxation(s, i, kc_dot(KC_N_X, kc_E + i * KC_N_X, x) + s->shift[i], KC_E_MIN(k)[i], KC_E_MAX(k)[i]);
#endif
    }
    if (s->use_P) {
        for (i = 0; i < KC_N_X; i++) last[i] = states[KC_HORIZON * KC_N_X + i] - s->end_x[i];
        cost += kc_quadratic(KC_N_X, s->P, last);
    }
#if KC_N_END > 0
    for (i = 0; i < KC_N_END; i++) 
        cost += kc_relaxation(s, KC_N_E + i, kc_at_end(s, i, states), kc_end_min[i], kc_end_max[i]);
#endif
    /* The shifted plan may break move bounds when the plant applied another input than was sent. */
    if (broken) cost *= 1e12;
    return isfinite(cost) ? cost : INFINITY;
}

#if KC_N_E > 0 || KC_N_END > 0
/* The excess of one value in `worst`; tells whether it is but rounding. */
static int kc_judge(double value, double low, double high, double size, double *worst) {
    double above = value - high, below = low - value;
    *worst = fmax(*worst, fmax(above, below));
    double at_high = isfinite(high) ? fabs(high) : 0.0, at_low = isfinite(low) ? fabs(low) : 0.0;
    return !(above > KC_OBEYED * fmax(size, at_high) || below > KC_OBEYED * fmax(size, at_low));
}
#endif

/* Largest excess over bounds on outputs and states along the roll-out; `obeyed` tells whether it is but rounding. */
static double kc_excess(const NAME_state *s, int *obeyed) {
    double worst = 0.0;
#if KC_N_E > 0 || KC_N_END > 0
    int i;
#endif
    *obeyed = 1;
#if KC_N_E > 0
    {
        int k;
        for (k = 1; k <= KC_HORIZON; k++)
            for (i = 0; i < KC_N_E; i++) {
                double e = kc_dot(KC_N_X, kc_E + i * KC_N_X, s->states + k * KC_N_X);
                *obeyed &= kc_judge(e, KC_E_MIN(k - 1)[i] - s->shift[i], KC_E_MAX(k - 1)[i] - s->shift[i], kc_e_size[i],
                                    &worst);
            }
    }
#endif
#if KC_N_END > 0
    for (i = 0; i < KC_N_END; i++)
        *obeyed &= kc_judge(kc_at_end(s, i, s->states), kc_end_min[i], kc_end_max[i], kc_end_size[i], &worst);
#endif
    (void)s;
    return worst;
}
