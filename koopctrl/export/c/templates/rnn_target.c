/* Steady targets of the network by Gauss-Newton: see koopctrl.controllers.steady_state.network. */

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

/* All inputs that act on the model at step k from now, the estimated disturbance among them. */
static void kc_join_acting(const NAME_state *s, const double *u, int k, double *all) {
    kc_join(u, s->told + k * KC_N_TOLD, all);
    for (k = 0; k < KC_N_IN; k++) all[k] += s->offset[k];
}

#define KC_HELD (KC_HORIZON + KC_DELAY - 1)

/* The same at the target: the last of the previewed disturbances counts, for it is held for good. */
static void kc_join_held(const NAME_state *s, const double *u, double *all) {
    kc_join_acting(s, u, KC_HELD, all);
}

/* A (n_x x n_x) and B (n_x x n_u) of the whole step k from now, shift included. */
static void kc_whole_jacobian(NAME_state *s, const double *x, const double *u, int step, double *a, double *b) {
    double unit[KC_N_X], zero_u[KC_N_IN], zero_y[KC_N_Y], column[KC_N_X], t[KC_N_QY];
    double all[KC_N_IN], y_u[KC_N_Y * KC_N_IN];
    int i, j;
    for (i = 0; i < KC_N_X; i++) unit[i] = 0.0;
    for (i = 0; i < KC_N_IN; i++) zero_u[i] = 0.0;
    for (i = 0; i < KC_N_Y; i++) zero_y[i] = 0.0;
    for (j = 0; j < KC_N_X; j++) {
        unit[j] = 1.0;
        kc_advance(unit, zero_u, zero_y, column);
        for (i = 0; i < KC_N_X; i++) a[i * KC_N_X + j] = column[i];
        unit[j] = 0.0;
    }
    for (j = 0; j < KC_N_U; j++) {
        zero_u[kc_moved[j]] = 1.0;
        kc_advance(unit, zero_u, zero_y, column);
        for (i = 0; i < KC_N_X; i++) b[i * KC_N_U + j] = column[i];
        zero_u[kc_moved[j]] = 0.0;
    }
    kc_join_acting(s, u, step, all);
    kc_terms(x, all, s->psi_here, t);
    kc_jacobian(all, s->psi_here, t, a, y_u); /* the first n_y rows */
    for (i = 0; i < KC_N_Y; i++)
        for (j = 0; j < KC_N_U; j++) b[i * KC_N_U + j] = y_u[i * KC_N_IN + kc_moved[j]];
}

#define KC_N_W (KC_N_X + KC_N_U)
#define KC_AT_REST KC_TIGHT(1e-6, 1e-5)
#define KC_REACHED 1e-2
#define KC_NEAR 0.1
#define KC_EXACT KC_TIGHT(1e-12, 1e-6)
#define KC_BEYOND 1e6

/* Entry of the weight on w = [x; u] in standardised coordinates; outputs that are not tracked have none. */
static double kc_target_weight(const NAME_state *s, int i, int j) {
    if (i < KC_N_Y && j < KC_N_Y)
        return s->mark[i] * s->mark[j] * kc_Q[i * KC_N_Y + j] * kc_x_scale[i] * kc_x_scale[j];
    if (i < KC_N_X || j < KC_N_X) return 0.0;
    i -= KC_N_X;
    j -= KC_N_X;
    return kc_idle[0] * kc_R[i * KC_N_U + j] * kc_move_scale[i] * kc_move_scale[j];
}

/* Weighted square of the first n entries of w - aim. */
static double kc_target_cost(const NAME_state *s, int n, const double *w, const double *aim) {
    double sum = 0.0;
    int i, j;
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) sum += kc_target_weight(s, i, j) * (w[i] - aim[i]) * (w[j] - aim[j]);
    return sum;
}

/* Misfit of x = f(x, u) + d, scaled: its largest entry, and their sum. */
static double kc_target_gap(NAME_state *s, const double *w, double *gap, double *sum) {
    double x[KC_N_X], u[KC_N_U], all[KC_N_IN], t[KC_N_QY], worst = 0.0;
    int i;
    for (i = 0; i < KC_N_X; i++) x[i] = w[i] * kc_x_scale[i];
    for (i = 0; i < KC_N_U; i++) u[i] = w[KC_N_X + i] * kc_move_scale[i];
    kc_join_held(s, u, all);
    kc_step(x, all, s->d, s->psi_here, t, gap);
    *sum = 0.0;
    for (i = 0; i < KC_N_X; i++) {
        gap[i] = (gap[i] - x[i]) / kc_x_scale[i];
        *sum += fabs(gap[i]);
        worst = fmax(worst, fabs(gap[i]));
    }
    return kc_all_finite(KC_N_X, gap) ? worst : INFINITY;
}

/* Jacobian of the misfit at w, in standardised coordinates: s->a (n_x x n_x) and s->b (n_x x n_u). */
static void kc_target_rows(NAME_state *s, const double *w) {
    double x[KC_N_X], u[KC_N_U];
    int i, j;
    for (i = 0; i < KC_N_X; i++) x[i] = w[i] * kc_x_scale[i];
    for (i = 0; i < KC_N_U; i++) u[i] = w[KC_N_X + i] * kc_move_scale[i];
    kc_whole_jacobian(s, x, u, KC_HELD, s->a, s->b);
    for (i = 0; i < KC_N_X; i++) {
        for (j = 0; j < KC_N_X; j++)
            s->a[i * KC_N_X + j] = s->a[i * KC_N_X + j] * kc_x_scale[j] / kc_x_scale[i] - (i == j ? 1.0 : 0.0);
        for (j = 0; j < KC_N_U; j++) s->b[i * KC_N_U + j] *= kc_move_scale[j] / kc_x_scale[i];
    }
}

/* Part of the terms in a bound's multiplier that is rounding. */
#define KC_ROUNDING KC_TIGHT(1e-12, 1e-5)

/* Gauss-Newton step within the bounds on inputs, and the largest multiplier of the steadiness. Inputs that would leave
 * their bounds are fixed there; of those that pull inwards the one that does so most is set free again. */
static int kc_target_step(NAME_state *s, const double *w, const double *gap, const double *aim, double damping,
                          double *step, double *multiplier) {
    double *M = s->kkt, *F = s->rhs, *a = s->a, *b = s->b;
    int index[KC_N_W], free[KC_N_U], i, j, n, round;
    kc_target_rows(s, w);
    for (i = 0; i < KC_N_W; i++) step[i] = 0.0;
    for (i = 0; i < KC_N_U; i++) free[i] = 1;
    for (round = 0; round < 4 * KC_N_U + 2; round++) {
        int total, outside = 0, worst = -1;
        double most = 0.0;
        for (i = 0, n = 0; i < KC_N_W; i++)
            if (i < KC_N_X || free[i - KC_N_X]) {
                step[i] = 0.0;
                index[n++] = i;
            }
        total = n + KC_N_X;
        for (i = 0; i < total * total; i++) M[i] = 0.0;
        for (i = 0; i < n; i++) {
            int p = index[i];
            for (j = 0; j < n; j++) M[i * total + j] = kc_target_weight(s, p, index[j]) + (i == j ? damping : 0.0);
            F[i] = 0.0;
            for (j = 0; j < KC_N_W; j++) F[i] -= kc_target_weight(s, p, j) * (w[j] - aim[j] + step[j]);
        }
        for (i = 0; i < KC_N_X; i++) {
            F[n + i] = -gap[i];
            for (j = 0; j < KC_N_U; j++) F[n + i] -= b[i * KC_N_U + j] * step[KC_N_X + j];
            for (j = 0; j < n; j++) {
                int p = index[j];
                double entry = p < KC_N_X ? a[i * KC_N_X + p] : b[i * KC_N_U + p - KC_N_X];
                M[(n + i) * total + j] = M[j * total + n + i] = entry;
            }
        }
        if (!kc_eliminate(total, 1, M, F)) return 0;
        for (i = 0; i < n; i++) step[index[i]] = F[i];
        *multiplier = 0.0;
        for (i = n; i < total; i++) *multiplier = fmax(*multiplier, fabs(F[i]));
        for (i = 0; i < KC_N_U; i++) {
            double now = w[KC_N_X + i], low = kc_u_min[i] / kc_move_scale[i], high = kc_u_max[i] / kc_move_scale[i];
            double next = now + step[KC_N_X + i];
            if (!free[i] || (next >= low && next <= high)) continue;
            step[KC_N_X + i] = kc_clip(next, low, high) - now;
            free[i] = 0;
            outside = 1;
        }
        if (outside) continue;
        for (i = 0; i < KC_N_U; i++) {
            int p = KC_N_X + i;
            double low = kc_u_min[i] / kc_move_scale[i], high = kc_u_max[i] / kc_move_scale[i], end = w[p] + step[p];
            double pull = damping * step[p], steadiness = 0.0;
            if (free[i] || low == high) continue;
            for (j = 0; j < KC_N_W; j++) pull += kc_target_weight(s, p, j) * (w[j] - aim[j] + step[j]);
            for (j = 0; j < KC_N_X; j++) steadiness += b[j * KC_N_U + i] * F[n + j];
            j = fabs(end - low) <= fabs(end - high) ? -1 : 1; /* the cost falls towards the inside if this is positive */
            if (!((double)j * (pull + steadiness) > KC_ROUNDING * (fabs(pull) + fabs(steadiness)))) continue;
            if (worst >= 0 && (double)j * (pull + steadiness) <= most) continue;
            most = (double)j * (pull + steadiness);
            worst = i;
        }
        if (worst < 0) break;
        free[worst] = 1;
    }
    return 1;
}

/* Best steady state met on the way from (x, u), which is left there, and its misfit; infinite if there is none. As
 * koopctrl.controllers.steady_state.network. */
static double kc_target_newton(NAME_state *s, const double *r, double *x, double *u) {
    double w[KC_N_W], trial[KC_N_W], aim[KC_N_W], step[KC_N_W], gap[KC_N_X], trial_gap[KC_N_X];
    double worst, sum, miss = INFINITY, damping = 0.0, penalty = 0.0;
    int i, iteration;
    for (i = 0; i < KC_N_X; i++) {
        w[i] = x[i] / kc_x_scale[i];
        aim[i] = i < KC_N_Y ? r[i] / kc_x_scale[i] : 0.0;
    }
    for (i = 0; i < KC_N_U; i++) {
        w[KC_N_X + i] = kc_clip(u[i], kc_u_min[i], kc_u_max[i]) / kc_move_scale[i];
        aim[KC_N_X + i] = s->wish[i] / kc_move_scale[i];
    }
    worst = kc_target_gap(s, w, gap, &sum);
    for (iteration = 0; iteration < 60 && isfinite(worst); iteration++) {
        double multiplier = 0.0, size = 0.0, shorten, here = kc_target_cost(s, KC_N_Y, w, aim), trial_worst, trial_sum;
        if (worst < KC_AT_REST && here <= 1.001 * miss + KC_EXACT * kc_size[0]) { /* the newest is most exact */
            miss = here;
            for (i = 0; i < KC_N_X; i++) x[i] = w[i] * kc_x_scale[i];
            for (i = 0; i < KC_N_U; i++) u[i] = kc_clip(w[KC_N_X + i] * kc_move_scale[i], kc_u_min[i], kc_u_max[i]);
        }
        if (!kc_target_step(s, w, gap, aim, damping, step, &multiplier)) break;
        for (i = 0; i < KC_N_W; i++) size = fmax(size, fabs(step[i]));
        if (!(size >= KC_TIGHT(1e-10, 1e-6)) || !isfinite(size)) break;
        shorten = fmin(1.0, 2.0 / size);
        for (i = 0; i < KC_N_W; i++) trial[i] = w[i] + shorten * step[i];
        for (i = 0; i < KC_N_U; i++)
            trial[KC_N_X + i] =
                kc_clip(trial[KC_N_X + i], kc_u_min[i] / kc_move_scale[i], kc_u_max[i] / kc_move_scale[i]);
        trial_worst = kc_target_gap(s, trial, trial_gap, &trial_sum);
        penalty = fmax(penalty, 2.0 * multiplier);
        /* The first test alone would refuse good steps along a curved set of steady states. */
        if (kc_target_cost(s, KC_N_W, trial, aim) + penalty * trial_sum <=
                kc_target_cost(s, KC_N_W, w, aim) + penalty * sum ||
            trial_worst <= 0.5 * worst) {
            for (i = 0; i < KC_N_W; i++) w[i] = trial[i];
            for (i = 0; i < KC_N_X; i++) gap[i] = trial_gap[i];
            worst = trial_worst;
            sum = trial_sum;
            damping = damping > 1e-8 * kc_size[0] ? 0.1 * damping : 0.0;
        } else {
            damping = fmax(10.0 * damping, 1e-6 * kc_size[0]);
        }
    }
    if (isfinite(miss) && miss > KC_REACHED * KC_REACHED * kc_size[0]) {
        int beyond = 0;
        for (i = 0; i < KC_N_Y; i++) beyond = beyond || x[i] < kc_y_low[i] || x[i] > kc_y_high[i];
        if (beyond) miss += KC_BEYOND * kc_size[0];
    }
    return miss;
}

/* What is asked for: set-point, which outputs count, disturbances on outputs, told ones and on inputs, and a wish. */
static void kc_pose_question(NAME_state *s, const double *r) {
    double *q = s->question;
    int i;
    for (i = 0; i < KC_N_Y; i++) {
        q[i] = r[i];
        q[KC_N_Y + i] = s->mark[i];
        q[2 * KC_N_Y + i] = s->d[i];
    }
    q += 3 * KC_N_Y;
#if KC_N_TOLD > 0
    for (i = 0; i < KC_N_TOLD; i++) *q++ = s->told[(KC_HORIZON + KC_DELAY - 1) * KC_N_TOLD + i];
#endif
    for (i = 0; i < KC_N_IN; i++) *q++ = s->offset[i];
    for (i = 0; i < KC_N_U; i++) *q++ = s->wish[i];
}

/* Whether this is much the same question as when all starts were last tried. */
static int kc_target_near(const NAME_state *s) {
    int i, near = s->searched;
    for (i = 0; i < KC_N_ASKED; i++)
        near = near && fabs(s->question[i] - s->searched_for[i]) / kc_asked_scale[i] <= KC_NEAR;
    return near;
}

/* Steady state that comes nearest to r from (x, u), which is left there, and its misfit; infinite if there is none.
 * Further searches follow from other inputs unless that reaches the set-point, or is known to be the best. */
static double kc_search_target(NAME_state *s, const double *r, int known, double *x, double *u, int *tried_all) {
    double trial_x[KC_N_X], trial_u[KC_N_U], all[KC_N_IN], miss, best = kc_target_newton(s, r, x, u);
    int i, k;
    *tried_all = !(best <= KC_REACHED * KC_REACHED * kc_size[0] || (isfinite(best) && known));
    for (k = 0; *tried_all && k < KC_N_STARTS; k++) {
        for (i = 0; i < KC_N_U; i++) trial_u[i] = kc_starts[k * KC_N_U + i];
        kc_join_held(s, trial_u, all);
        for (i = 0; i < KC_N_X; i++) { /* first at the set-point, then where such inputs have led */
            int past = i - KC_OUTPUT_LAGS * KC_N_Y, o = i % KC_N_Y;
            trial_x[i] = past < 0 ? kc_clip(r[o], kc_y_low[o], kc_y_high[o]) : all[past % KC_N_IN];
            if (k > 0) trial_x[i] = kc_settled[k * KC_N_X + i];
        }
        miss = kc_target_newton(s, r, trial_x, trial_u);
        if (!(miss < 0.999 * best)) continue;
        best = miss;
        for (i = 0; i < KC_N_X; i++) x[i] = trial_x[i];
        for (i = 0; i < KC_N_U; i++) u[i] = trial_u[i];
        if (miss <= KC_REACHED * KC_REACHED * kc_size[0]) break;
    }
    return best;
}

/* Target of one set-point under the present disturbance: s->end_x, s->end_u. The last answer stands as long as the
 * question does. The search starts from the last one that was reached, or refines the last one where that was the best
 * of all starts for much the same question. */
static void kc_find_target(NAME_state *s, const double *r) {
    double best;
    int i, same = s->has_target, tried_all, reached, known;
    kc_pose_question(s, r);
    known = kc_target_near(s);
    for (i = 0; i < KC_N_ASKED; i++) same = same && s->question[i] == s->answered[i];
    if (same) return;
    for (i = 0; i < KC_N_X && !known; i++) s->end_x[i] = s->start_x[i];
    for (i = 0; i < KC_N_U && !known; i++) s->end_u[i] = s->start_u[i];
    best = kc_search_target(s, r, known, s->end_x, s->end_u, &tried_all);
    reached = best <= KC_REACHED * KC_REACHED * kc_size[0];
    s->end_converged = isfinite(best);
    s->has_target = 1;
    s->has_P = -1; /* not asked for yet */
    for (i = 0; i < KC_N_ASKED; i++) {
        s->answered[i] = s->question[i];
        if (tried_all) s->searched_for[i] = s->question[i];
    }
    s->searched = s->end_converged && !reached;
    if (reached) {
        for (i = 0; i < KC_N_X; i++) s->start_x[i] = s->end_x[i];
        for (i = 0; i < KC_N_U; i++) s->start_u[i] = s->end_u[i];
    }
}
