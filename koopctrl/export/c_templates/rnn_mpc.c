/* Predictive control on the recurrent network by real-time iteration: see koopctrl.controllers.rnn_mpc.
 *
 * A sample: roll the shifted plan out; linearise along it; condense to a QP in the plan's change; solve; take the
 * longest of four steps that does not raise the merit along the network's own roll-out. Nothing that leaves here
 * depends on the linearisation being good. */

#define KC_COLD_ITERATIONS 20
#define KC_SETTLED 1e-10
#define KC_RECHECK 5
#define KC_RECHECK_ITERATIONS 5
#define KC_FAR 0.1
#define KC_N_ROWS (KC_N_RATE + KC_N_E * KC_HORIZON)

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
    s->searched = 0;
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
static double kc_optimise_cold(NAME_state *s, kc_qp_work *w, int n, NAME_info *info) {
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

/* Whether the candidate's last output is far from its target, in the data's scale and beside the other steps. */
static int kc_ends_far(const NAME_state *s, double merit) {
    double error[KC_N_Y], missed;
    int i;
    for (i = 0; i < KC_N_Y; i++)
        error[i] = s->states[KC_HORIZON * KC_N_X + i] - s->tracked[KC_HORIZON * KC_N_Y + i];
    missed = kc_quadratic(KC_N_Y, kc_Q, error);
    return isfinite(merit) && missed * KC_HORIZON > KC_FAR * merit && missed > KC_FAR * KC_FAR * kc_size[0];
}

/* New plans beside the candidate: a longer look ahead may have shown a better way. */
static double kc_recheck(NAME_state *s, kc_qp_work *w, double merit, NAME_info *info) {
    NAME_info other = *info;
    double found;
    int i;
    for (i = 0; i < KC_HORIZON * KC_N_U; i++) s->warm[i] = s->candidate[i];
    found = kc_optimise_cold(s, w, KC_RECHECK_ITERATIONS, &other);
    info->iterations = other.iterations;
    if (found < 0.999 * merit) {
        *info = other;
        return found;
    }
    for (i = 0; i < KC_HORIZON * KC_N_U; i++) s->candidate[i] = s->warm[i];
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
        s->since = (s->since + 1) % KC_RECHECK;
        if (s->since == 0 && kc_ends_far(s, merit)) merit = kc_recheck(s, &w, merit, info);
    } else {
        merit = kc_optimise_cold(s, &w, KC_N_ITERATIONS > KC_COLD_ITERATIONS ? KC_N_ITERATIONS : KC_COLD_ITERATIONS, info);
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
    s->since = 0;
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
