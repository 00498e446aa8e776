/* Predictive control on the recurrent network by real-time iteration: see koopctrl.controllers.mpc.rnn.
 *
 * A sample: roll the shifted plan out; linearise along it; condense to a QP in the plan's change; solve; take the
 * longest of four steps that does not raise the merit along the network's own roll-out. Nothing that leaves here
 * depends on the linearisation being good. */

#define KC_COLD_ITERATIONS 20
#define KC_RECHECK 5
#define KC_RECHECK_ITERATIONS 5
#define KC_FAR 0.1
#define KC_PATIENCE 10.0
/* Samples that the LQR is followed for, the share of its promise that it must keep, the share of a plan's cost
 * below which it does not matter, and that of an error as large as the data's spread: see koopctrl.controllers.mpc.rnn_end. */
#define KC_HOLDS_SAMPLES 10
#define KC_HOLDS_KEPT 0.5
#define KC_HOLDS_PAID 1e-3
#define KC_HOLDS_NEGLIGIBLE 0.05
#define KC_HOLDS_ARRIVED 1e-4

#if !KC_OBSERVER
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
        kc_step(s->x, s->acted, s->d, s->psi_here, t, predicted);
        for (i = 0; i < KC_N_Y; i++) {
            if (!measured) newest[i] = predicted[i];
            else s->d[i] += kc_filter[0] * (y[i] - predicted[i]); /* the prediction has d in it */
        }
    }
    kc_advance(s->x, s->acted, newest, predicted);
    for (i = 0; i < KC_N_X; i++) s->x[i] = predicted[i];
    if (!kc_all_finite(KC_N_X, s->x) || !kc_all_finite(KC_N_Y, s->d)) {
        for (i = 0; i < KC_N_Y; i++) s->d[i] = 0.0;
        s->started = 0; /* the prediction ran away: wait for a measurement */
        return 0;
    }
    return measured;
}
#endif

/* Forget what an absurd measurement may have spoilt: the disturbance, and where searches for targets start. */
static void kc_restart(NAME_state *s) {
    int i;
    for (i = 0; i < KC_N_Y; i++) s->d[i] = 0.0;
    for (i = 0; i < KC_N_X; i++) s->start_x[i] = kc_start_x[i];
    for (i = 0; i < KC_N_U; i++) s->start_u[i] = kc_start_u[i];
    s->has_target = 0;
    s->has_rows = 0;
    s->searched = 0;
    s->since = 0;
    s->weighted = 1;
    s->has_course = 0;
    s->hard_k = -1;
    s->soft_k = -1;
}

/* Where the disturbance is far beyond the data's spread it is forgotten, and what it has led searches to. */
static void kc_recover(NAME_state *s, const double *y) {
    int i, absurd = 0;
    (void)y;
    for (i = 0; i < KC_N_Y; i++) absurd = absurd || !(fabs(s->d[i]) <= KC_ABSURD * kc_x_scale[i]);
    if (absurd) kc_restart(s);
}

/* Without a plan to start from: the steady inputs, and the best full swing with one switch. Swing-ups have many local
 * optima; which one is found depends on the start. */
static double kc_optimise_cold(NAME_state *s, int n, NAME_info *info) {
    double merit;
    kc_start_plan(s, s->steady);
    merit = kc_optimise(s, n, KC_SETTLED, 0, info);
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
        second = kc_optimise(s, n, KC_SETTLED, 0, &other);
        info->iterations = other.iterations;
        if (second < merit) {
            merit = second;
            *info = other;
        } else {
            for (i = 0; i < KC_HORIZON * KC_N_U; i++) s->candidate[i] = s->best[i];
            (void)kc_roll_candidate(s);
        }
    }
#endif
    return merit;
}

/* What the candidate's last output costs. */
static double kc_end_cost(const NAME_state *s) {
    double error[KC_N_Y];
    int i;
    for (i = 0; i < KC_N_Y; i++)
        error[i] = s->mark[i] * (s->states[KC_HORIZON * KC_N_X + i] - s->tracked[KC_HORIZON * KC_N_Y + i]);
    return kc_quadratic(KC_N_Y, kc_Q, error);
}

/* Whether the candidate's last output is far from its target, in the data's scale and beside the other steps. */
static int kc_ends_far(const NAME_state *s, double merit) {
    double missed = kc_end_cost(s);
    return isfinite(merit) && missed * KC_HORIZON > KC_FAR * merit && missed > KC_FAR * KC_FAR * kc_size[0];
}

/* New plans beside the candidate: a longer look ahead may have shown a better way. */
static double kc_recheck(NAME_state *s, double merit, NAME_info *info) {
    NAME_info other = *info;
    double found;
    int i;
    for (i = 0; i < KC_HORIZON * KC_N_U; i++) s->warm[i] = s->candidate[i];
    found = kc_optimise_cold(s, KC_RECHECK_ITERATIONS, &other);
    info->iterations = other.iterations;
    if (found < 0.999 * merit) {
        *info = other;
        return found;
    }
    for (i = 0; i < KC_HORIZON * KC_N_U; i++) s->candidate[i] = s->warm[i];
    (void)kc_roll_candidate(s); /* its excess will be asked for */
    return merit;
}

/* What is left of the last plan, its last input held, as the candidate; tells whether there is any. */
static int kc_shift(NAME_state *s) {
    int i, k;
    if (s->age < 1 || s->age >= KC_HORIZON) return 0;
    for (k = 0; k < KC_HORIZON; k++)
        for (i = 0; i < KC_N_U; i++) {
            int from = s->age + k < KC_HORIZON ? s->age + k : KC_HORIZON - 1;
            s->trial[k * KC_N_U + i] = s->plan[from * KC_N_U + i];
        }
    kc_start_plan(s, s->trial);
    return 1;
}

/* The window where the new input begins to act: inputs on their way come first. */
static void kc_begin(NAME_state *s) {
    int i;
    for (i = 0; i < KC_N_X; i++) s->begin[i] = s->x[i];
#if KC_DELAY > 0
    {
        double all[KC_N_IN], next[KC_N_X], t[KC_N_QY];
        int k;
        for (k = 0; k < KC_DELAY; k++) {
            kc_join_acting(s, s->line + (k + 1) * KC_N_U, k, all);
            kc_step(s->begin, all, s->d, s->psi_here, t, next);
            for (i = 0; i < KC_N_X; i++) s->begin[i] = next[i];
        }
    }
#endif
}

static void kc_keep(const NAME_state *s, double *kept) {
    int i;
    for (i = 0; i < KC_HORIZON * KC_N_U; i++) kept[i] = s->candidate[i];
}

/* A plan that was kept is the candidate again; its excess will be asked for. */
static void kc_restore(NAME_state *s, const double *kept) {
    int i;
    for (i = 0; i < KC_HORIZON * KC_N_U; i++) s->candidate[i] = kept[i];
    (void)kc_roll_candidate(s);
}

/* Whether the LQR's cost to go may stand at the end of the candidate; always unless that is to be chosen. */
static int kc_holds(NAME_state *s, double merit) {
#if KC_AUTO
    double missed[KC_N_Y], x[KC_N_X], next[KC_N_X], error[KC_N_X], t[KC_N_QY], u[KC_N_U], du[KC_N_U], all[KC_N_IN];
    double first, last, stages = 0.0;
    int i, k;
    if (!isfinite(merit)) return 0;
    if (!s->has_P) return 1;
    for (i = 0; i < KC_N_X; i++) {
        x[i] = s->states[KC_HORIZON * KC_N_X + i];
        error[i] = x[i] - s->end_x[i];
    }
    first = kc_quadratic(KC_N_X, s->P, error);
    if (first <= fmax(KC_HOLDS_NEGLIGIBLE * merit, KC_HOLDS_ARRIVED * kc_size[0])) return 1;
    for (k = 0; k < KC_HOLDS_SAMPLES; k++) {
        for (i = 0; i < KC_N_U; i++) {
            u[i] = kc_clip(s->end_u[i] - kc_dot(KC_N_X, s->K + i * KC_N_X, error), kc_u_min[i], kc_u_max[i]);
            du[i] = u[i] - s->end_u[i];
        }
        for (i = 0; i < KC_N_Y; i++) missed[i] = s->mark[i] * error[i];
        stages += kc_quadratic(KC_N_Y, kc_Q, missed) + kc_quadratic(KC_N_U, kc_R, du);
        kc_join_held(s, u, all);
        kc_step(x, all, s->d, s->psi_here, t, next);
        for (i = 0; i < KC_N_X; i++) {
            x[i] = next[i];
            error[i] = x[i] - s->end_x[i];
        }
    }
    last = kc_quadratic(KC_N_X, s->P, error);
    /* False for what is not a number. */
    return last + KC_HOLDS_KEPT * stages <= first && KC_HOLDS_PAID * first <= stages;
#else
    (void)s;
    (void)merit;
    return 1;
#endif
}

/* From the shifted last plan; where that leads nowhere, from cold ones too. */
static double kc_optimise_warm(NAME_state *s, NAME_info *info) {
    double merit;
    (void)kc_shift(s);
    merit = kc_optimise(s, KC_N_ITERATIONS, kc_worth[0], 1, info);
    if (s->since == 0 && kc_ends_far(s, merit)) merit = kc_recheck(s, merit, info);
    return merit;
}

/* Without a plan to start from: see RNNLaw._cold. */
static double kc_optimise_afresh(NAME_state *s, NAME_info *info) {
    int n = KC_N_ITERATIONS > KC_COLD_ITERATIONS ? KC_N_ITERATIONS : KC_COLD_ITERATIONS;
#if KC_AUTO
    if (s->has_P) {
        NAME_info other;
        double first, second, waiting;
        s->use_P = 0;
        first = kc_optimise_cold(s, n, info);
        waiting = first + KC_PATIENCE * KC_HORIZON * kc_end_cost(s);
        kc_keep(s, s->kept);
        other = *info;
        other.reason = NAME_REASON_NONE;
        if (kc_holds(s, first)) {
            s->use_P = 1;
            second = kc_optimise(s, n, KC_SETTLED, 0, &other);
        } else {
            s->use_P = 1;
            second = kc_optimise_cold(s, n, &other);
        }
        s->weighted = !isfinite(first) || (second <= waiting && kc_holds(s, second));
        info->iterations = other.iterations;
        if (s->weighted) {
            *info = other;
            return second;
        }
        s->use_P = 0;
        kc_restore(s, s->kept);
        return first;
    }
#endif
    s->use_P = s->has_P;
    s->weighted = 1;
    return kc_optimise_cold(s, n, info);
}

#if KC_N_TUNINGS > 1
/* The last target stands, as the last plan does; the cost to go at it is another one. */
static void kc_retuned(NAME_state *s) {
    s->set = s->tuning;
    s->has_P = -1;
}
#endif

static int kc_find_plan(NAME_state *s, const kc_asked *asked, double *lqr, NAME_info *info) {
    double merit = INFINITY;
    int i, obeyed;
    (void)lqr;
    kc_begin(s);
#if KC_N_E > 0 && KC_OBSERVER && KC_DISTURBANCE == 1
    for (i = 0; i < KC_N_E; i++) s->shift[i] = kc_dot(KC_N_Y, kc_E_outputs + i * KC_N_Y, s->beside);
#endif
    kc_set_references(s, asked);
    if (kc_shift(s)) {
        int weighted;
        s->since = (s->since + 1) % KC_RECHECK;
        s->use_P = s->has_P && s->weighted;
        merit = kc_optimise_warm(s, info);
        if (isfinite(merit)) {
            weighted = kc_holds(s, merit);
            if (s->weighted && !weighted) {
                NAME_info other = *info, third;
                double found, led;
                kc_keep(s, s->kept);
                s->use_P = 0;
                found = kc_optimise_warm(s, &other);
                kc_keep(s, s->warm);
                kc_restore(s, s->kept);
                third = *info;
                third.iterations = other.iterations;
                led = kc_optimise(s, KC_N_ITERATIONS, kc_worth[0], 0, &third);
                other.iterations = third.iterations;
                info->iterations = third.iterations;
                if (led < 0.999 * found) {
                    *info = third;
                    merit = led;
                } else if (isfinite(found)) {
                    *info = other;
                    merit = found;
                    kc_restore(s, s->warm);
                } else {
                    s->use_P = s->has_P;
                    kc_restore(s, s->kept);
                }
            }
            s->weighted = weighted;
        }
    }
    if (!isfinite(merit)) merit = kc_optimise_afresh(s, info);
    s->has_course = isfinite(merit);
    if (!isfinite(merit)) {
        if (info->reason == NAME_REASON_NONE) info->reason = NAME_REASON_STATE;
        return 0;
    }
    info->reason = NAME_REASON_NONE;
    info->slack = kc_excess(s, &obeyed);
    if (info->status == NAME_OPTIMAL && !obeyed) info->status = NAME_INEXACT;
    for (i = 0; i < KC_HORIZON * KC_N_U; i++) s->plan[i] = s->candidate[i];
    for (i = 0; i < (KC_HORIZON + 1) * KC_N_X; i++) s->course[i] = s->states[i];
    s->course_merit[0] = merit;
    return 1;
}

static void kc_forget(NAME_state *s) {
    int i;
    for (i = 0; i < KC_N_IN; i++) s->offset[i] = 0.0;
    for (i = 0; i < KC_N_Y; i++) s->beside[i] = 0.0;
#if KC_N_E > 0
    for (i = 0; i < KC_N_E; i++) s->shift[i] = 0.0;
#endif
#if KC_OBSERVER
    s->in_a_row = 0;
#endif
#if KC_WINDOWED
    s->n_window = s->within_status = s->n_fallbacks = 0;
#endif
    s->has_P = -1;
    s->end_converged = 0;
    kc_restart(s);
}

#if KC_DIAGNOSTICS
void NAME_predict(const NAME_state *s, const double *inputs, double *outputs) {
    double x[KC_N_X], next[KC_N_X], t[KC_N_QY], all[KC_N_IN];
    KC_REAL psi[KC_N_FEATURES > 0 ? KC_N_FEATURES : 1];
    int i, k;
    for (i = 0; i < KC_N_X; i++) x[i] = s->begin[i];
    for (k = 0; k <= KC_HORIZON; k++) {
        for (i = 0; i < KC_N_Y; i++) outputs[k * KC_N_Y + i] = x[i] + s->beside[i];
        if (k == KC_HORIZON) break;
        kc_join_acting(s, inputs + k * KC_N_U, KC_DELAY + k, all);
        kc_step(x, all, s->d, psi, t, next);
        for (i = 0; i < KC_N_X; i++) x[i] = next[i];
    }
}
#endif
