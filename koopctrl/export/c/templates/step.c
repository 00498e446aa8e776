/* From a posed QP to an input: hard where feasible, else with slacks; the plan taken, or the policy without one. */

/* The answer put exactly inside the bounds on inputs and moves: from here on the last plan and input. The certificate
 * is relative to the largest value at stake, which relaxed bounds can make large. */
static void kc_accept(NAME_state *s, double *u_out) {
    int i;
    for (i = 0; i < KC_N_U; i++) s->plan[i] = kc_admissible(s, i, s->plan[i]);
    for (; i < KC_HORIZON * KC_N_U; i++) {
        int j = i % KC_N_U;
        double last = s->plan[i - KC_N_U], u = kc_clip(s->plan[i], last + kc_du_min[j], last + kc_du_max[j]);
        s->plan[i] = kc_clip(u, kc_u_min[j], kc_u_max[j]);
    }
    for (i = 0; i < KC_N_U; i++) u_out[i] = s->plan[i];
    kc_send(s, u_out);
    s->age = 1;
}

/* Policy without a certified solution: shifted plan, else an LQR's input (unless it is not finite), else the last. */
static int kc_fall_back(NAME_state *s, const double *lqr, double *u_out) {
    int i, status = NAME_FALLBACK_HOLD;
    if (s->age > 0 && s->age < KC_HORIZON) {
        for (i = 0; i < KC_N_U; i++) u_out[i] = s->plan[s->age * KC_N_U + i];
        s->age++;
        status = NAME_FALLBACK_PLAN;
    } else if (kc_all_finite(KC_N_U, lqr)) {
        for (i = 0; i < KC_N_U; i++) u_out[i] = lqr[i];
        status = NAME_FALLBACK_LQR;
    } else {
        for (i = 0; i < KC_N_U; i++) u_out[i] = kc_effective_last(s, i);
    }
    for (i = 0; i < KC_N_U; i++) u_out[i] = kc_admissible(s, i, u_out[i]);
    kc_send(s, u_out);
    return status;
}

#if KC_N_SOFT > 0
/* From the hard problem's bounds to those with slacks e >= 0 on the last rows, their two sides apart. From the back,
 * since the arrays are the same ones. */
static void kc_widen(double *lo, double *hi) {
    int i, first = KC_N_V + KC_N_HARD, size = KC_N_V + KC_N_SOFT;
    for (i = KC_N_SOFT - 1; i >= 0; i--) {
        lo[first + 2 * KC_N_SOFT + i] = -INFINITY;
        hi[first + 2 * KC_N_SOFT + i] = hi[first + i];
        lo[first + KC_N_SOFT + i] = lo[first + i];
        hi[first + KC_N_SOFT + i] = INFINITY;
    }
    for (i = KC_N_HARD - 1; i >= 0; i--) {
        lo[size + i] = lo[KC_N_V + i];
        hi[size + i] = hi[KC_N_V + i];
    }
    for (i = 0; i < KC_N_SOFT; i++) {
        lo[KC_N_V + i] = 0.0;
        hi[KC_N_V + i] = INFINITY;
    }
}

/* The QP of which the hard one has no solution: slacks e on its last rows, in units that make their Hessian one;
 * `gradient` is their linear cost, `size` what one of them relaxes, in the bound's units. */
static int kc_solve_soft(NAME_state *s, const kc_qp *hard, const double *unit, const double *gradient,
                         const double *size, kc_qp_work *w, NAME_info *info) {
    kc_qp soft = *hard;
    int i, status;
    soft.n_slack = KC_N_SOFT;
    soft.unit = unit;
    for (i = 0; i < KC_N_SOFT; i++) s->g[KC_N_V + i] = gradient[i];
    kc_widen(s->lo, s->hi);
    w->Jt = s->soft_Jt;
    w->R = s->soft_R;
    w->x = s->soft_x;
    w->active = s->soft_active;
    w->side = s->soft_side;
    w->k = s->soft_k;
    w->changes = s->soft_changes;
    status = kc_qp_solve(&soft, w, s->g, s->lo, s->hi, KC_MAX_ITERATIONS, s->saved);
    s->soft_k = w->k;
    s->soft_changes = w->changes;
    info->iterations += w->iterations;
    if (status == KC_QP_SOLVED) {
        const int first = KC_N_V + KC_N_HARD;
        double answer = 0.0, relief = 0.0;
        for (i = 0; i < KC_N_V; i++) answer = fmax(answer, fabs(w->x[i]));
        for (i = 0; i < KC_N_SOFT; i++) {
            int at_low = first + KC_N_SOFT + i, at_high = first + 2 * KC_N_SOFT + i;
            double row = 0.5 * (w->value[at_low] + w->value[at_high]);
            answer = fmax(answer, fabs(kc_clip(row, s->lo[at_low], s->hi[at_high])));
            relief = fmax(relief, w->x[KC_N_V + i] * unit[i]);
            info->slack = fmax(info->slack, w->x[KC_N_V + i] * size[i]);
        }
        /* Without slack the hard problem's conditions hold: its solver had failed, or the bounds just touch. */
        if (relief > KC_NO_SLACK * answer) info->status = NAME_SOFTENED;
    }
    return status;
}
#endif

/* Solve the hard QP with the gradient and bounds in s, else the soft one. Returns the first KC_N_V entries of the
 * answer, which stand until the next call; a null pointer without a certified one, the reason in info. */
static const double *kc_solve_qp(NAME_state *s, const kc_qp *hard, const double *unit, const double *gradient,
                                 const double *size, NAME_info *info) {
    kc_qp_work w;
    int status;
    w.lam = s->lam;
    w.d = s->qp_d;
    w.r = s->r;
    w.work = s->work;
    w.value = s->value;
    w.Jt = s->hard_Jt;
    w.R = s->hard_R;
    w.x = s->hard_x;
    w.active = s->hard_active;
    w.side = s->hard_side;
    w.k = s->hard_k;
    w.changes = s->hard_changes;
    status = kc_qp_solve(hard, &w, s->g, s->lo, s->hi, KC_MAX_ITERATIONS, s->saved);
    s->hard_k = w.k;
    s->hard_changes = w.changes;
    info->iterations += w.iterations;
    info->status = NAME_OPTIMAL;
    info->slack = 0.0;
#if KC_N_SOFT > 0
    if (status != KC_QP_SOLVED && status != KC_QP_BEYOND) status = kc_solve_soft(s, hard, unit, gradient, size, &w, info);
#else
    (void)unit;
    (void)gradient;
    (void)size;
#endif
    info->kkt_residual = w.kkt;
    if (status == KC_QP_SOLVED) return w.x;
    info->reason = status == KC_QP_INFEASIBLE        ? NAME_REASON_INFEASIBLE
                   : status == KC_QP_ITERATION_LIMIT ? NAME_REASON_ITERATION_LIMIT
                                                     : NAME_REASON_INACCURATE;
    return 0;
}
