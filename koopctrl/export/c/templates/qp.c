/* The dual active-set iteration on the factor of qp_factor.c, and the certificate of its answer. */

/* One Newton step on the equality problem of the working set. With y = J^-1 dx, the defects of stationarity rd and
 * of the active constraints rp give  y + [R; 0] dlam = -J'rd,  [R' 0] y = -rp. From any x it lands on the optimum;
 * repeated, it is iterative refinement, because the defects come from H and A and not from the factor. */
static void kc_qp_newton(const kc_qp *qp, kc_qp_work *w, const double *g, const double *lo, const double *hi) {
    int size = kc_qp_size(qp), i;
    double *defect = w->work, *y = w->d, *rp = w->r;
#if KC_SINGLE
    for (i = 0; i < size; i++) defect[i] = kc_qp_defect(qp, w, g, i, 0);
    for (i = 0; i < w->k; i++) {
        int c = w->active[i];
        rp[i] = -(double)w->side[c] * kc_qp_distance(qp, c, w->x, w->side[c] > 0 ? hi[c] : lo[c]);
    }
#else
    for (i = 0; i < qp->n; i++) defect[i] = g[i] + kc_dot(qp->n, qp->H + i * qp->n, w->x);
    for (i = qp->n; i < size; i++) defect[i] = g[i] + w->x[i];
    for (i = 0; i < w->k; i++) {
        int c = w->active[i];
        double side = (double)w->side[c];
        kc_qp_add_normal(qp, c, side * w->lam[i], defect);
        rp[i] = -side * (kc_qp_value(qp, c, w->x) - (w->side[c] > 0 ? hi[c] : lo[c]));
    }
#endif
    for (i = 0; i < size; i++) y[i] = -kc_dot(size, w->Jt + i * size, defect);
    kc_qp_forward(w, rp);
    for (i = 0; i < w->k; i++) {
        double y_new = rp[i];
        rp[i] = y[i] - y_new;
        y[i] = y_new;
    }
    kc_qp_back(w, rp);
    for (i = 0; i < w->k; i++) w->lam[i] += rp[i];
    for (i = 0; i < size; i++) kc_axpy(size, y[i], w->Jt + i * size, w->x);
}

static void kc_qp_values(const kc_qp *qp, kc_qp_work *w, const double *lo, const double *hi) {
    int size = kc_qp_size(qp), n_c = kc_qp_constraints(qp), hard = qp->m - qp->n_slack, i;
    for (i = 0; i < size; i++) w->value[i] = w->x[i];
    for (i = 0; i < qp->m; i++) w->value[size + i] = kc_dot(qp->n, qp->A + i * qp->n, w->x);
    for (i = 0; i < qp->n_slack; i++) {
        double relief = qp->unit[i] * w->x[qp->n + i], row = w->value[size + hard + i];
        w->value[size + qp->m + i] = row - relief;
        w->value[size + hard + i] = row + relief;
    }
    w->size = KC_QP_ROUNDING * w->free;
    for (i = 0; i < n_c; i++) w->size = fmax(w->size, fabs(fmin(fmax(w->value[i], lo[i]), hi[i])));
}

/* What the size of answers and the bound on their errors need of the problem. Tells whether its bounds are within
 * reach of arithmetic; slacks always are. */
static int kc_qp_measure(const kc_qp *qp, kc_qp_work *w, const double *g, const double *lo, const double *hi) {
    int n = qp->n, i, k;
    double *whitened = w->work, *free = w->d, beyond = 0.0, within = 0.0, bounds = 0.0;
    w->free = 0.0;
    w->spread = qp->n_slack ? 1.0 : 0.0;
    for (i = 0; i < n; i++) whitened[i] = kc_dot(i + 1, qp->Linv + i * n, g);
    for (i = 0; i < n; i++) {
        double variance = 0.0;
        free[i] = 0.0;
        for (k = i; k < n; k++) {
            double entry = qp->Linv[k * n + i];
            variance += entry * entry;
            free[i] += entry * whitened[k];
        }
        w->spread = fmax(w->spread, variance);
        w->free = fmax(w->free, fabs(free[i]));
    }
    w->spread = sqrt(w->spread);
    w->width = INFINITY;
    for (i = 0; i < n + qp->n_inputs; i++) {
        int c = i < n ? i : i + qp->n_slack;
        if (hi[c] > lo[c]) w->width = fmin(w->width, hi[c] - lo[c]);
    }
    if (qp->n_slack) return 1;
    for (i = 0; i < n + qp->m; i++) {
        double value = i < n ? -free[i] : -kc_dot(n, qp->A + (i - n) * n, free);
        beyond = fmax(beyond, fabs(value));
        within = fmax(within, fabs(fmin(fmax(value, lo[i]), hi[i])));
        /* An answer may lie at the bound that is zero, but for rounding. */
        if (isfinite(lo[i])) bounds = fmax(bounds, fabs(lo[i]));
        if (isfinite(hi[i])) bounds = fmax(bounds, fabs(hi[i]));
    }
    return !(within > 0.0 && isfinite(beyond) && beyond > KC_QP_ABSURD * fmax(within, bounds));
}

/* What errors of inputs are relative to, and those of constraint c. */
static double kc_qp_narrow(const kc_qp_work *w) { return fmin(w->size, fmax(w->width, KC_QP_NARROW * w->size)); }

static double kc_qp_unit(const kc_qp *qp, const kc_qp_work *w, int c) {
    int row = c - kc_qp_size(qp);
    return c < qp->n || (row >= 0 && row < qp->n_inputs) ? kc_qp_narrow(w) : w->size;
}

/* Bound on the error of x, relative to its size (values up to date), as koopctrl.controllers.qp.dense defines it:
 * with the bounds moved to where x is, a gradient s that the multipliers do not balance leaves at most |s| in the norm
 * of H^-1; that, violations and distances from bounds that hold. NaN anywhere makes it NaN, which no comparison
 * accepts. */
static double kc_qp_residual(const kc_qp *qp, kc_qp_work *w, const double *g, const double *lo, const double *hi,
                             int *counts) {
    int size = kc_qp_size(qp), n_c = kc_qp_constraints(qp), n = qp->n, i;
    double off = 0.0, check = 0.0, error = 0.0, *s = w->work;
    for (i = 0; i < size; i++) {
#if KC_SINGLE
        s[i] = g[i];
#else
        s[i] = g[i] + (i < n ? kc_dot(n, qp->H + i * n, w->x) : w->x[i]);
#endif
        check += s[i];
    }
    for (i = 0; i < n_c; i++) {
        off = fmax(off, fmax(lo[i] - w->value[i], w->value[i] - hi[i]) / kc_qp_unit(qp, w, i));
        check += w->value[i];
    }
    for (i = 0; i < w->k; i++) {
        int c = w->active[i];
        double distance = fabs(w->value[c] - (w->side[c] > 0 ? hi[c] : lo[c]));
        check += w->lam[i];
#if KC_SINGLE
        counts[i] = 0;
#endif
        if (!(w->lam[i] > 0.0) || !(distance <= KC_QP_MET * w->size)) continue;
        off = fmax(off, distance / kc_qp_unit(qp, w, c));
#if KC_SINGLE
        counts[i] = 1;
#else
        kc_qp_add_normal(qp, c, (double)w->side[c] * w->lam[i], s);
#endif
    }
#if KC_SINGLE
    for (i = 0; i < size; i++) {
        s[i] = kc_qp_defect(qp, w, g, i, counts);
        check += s[i];
    }
#endif
    for (i = 0; i < size; i++) {
        double whitened = i < n ? kc_dot(i + 1, qp->Linv + i * n, s) : s[i];
        error += whitened * whitened;
    }
    if (w->spread * sqrt(error) > KC_QP_SHARPEN * kc_qp_narrow(w)) { /* what multipliers of the working set cannot balance */
        double sharp = 0.0;
        for (i = w->k; i < size; i++) {
            double part = kc_dot(size, w->Jt + i * size, s);
            sharp += part * part;
        }
        error = fmin(error, sharp);
    }
    (void)counts;
    if (!isfinite(check)) return NAN;
    if (qp->strict && w->width < KC_QP_LOST * w->size) return INFINITY;
    if (error > 0.0) off = fmax(off, w->spread * sqrt(error) / kc_qp_narrow(w));
    return off; /* infinite where there is no size */
}

/* The active-set iteration from a working set that satisfies (1). */
static int kc_qp_iterate(const kc_qp *qp, kc_qp_work *w, const double *g, const double *lo, const double *hi,
                         int max_iterations, int *saved) {
    int size = kc_qp_size(qp), n_c = kc_qp_constraints(qp), i, refinements = 0, begin = 1;
    double tolerance = KC_QP_FEASIBLE;
    for (;;) {
        int entering = -1, side = 0;
        double violation = 0.0, multiplier = 0.0, bound;
        while (begin) { /* towards (2): constraints with a negative multiplier leave, the worst first */
            int worst = -1;
            double lowest = 0.0;
            kc_qp_newton(qp, w, g, lo, hi);
            for (i = 0; i < w->k; i++)
                if (w->lam[i] < lowest) {
                    lowest = w->lam[i];
                    worst = i;
                }
            begin = worst >= 0;
            if (!begin) break;
            if (w->iterations++ >= max_iterations) return KC_QP_ITERATION_LIMIT;
            kc_qp_leave(qp, w, worst);
        }
        kc_qp_values(qp, w, lo, hi);
        for (i = 0; i < n_c; i++) {
            double above = w->value[i] - hi[i], below = lo[i] - w->value[i];
            if (w->side[i] != 0) continue;
            if (above > violation && above > tolerance * kc_qp_unit(qp, w, i)) {
                violation = above;
                entering = i;
                side = 1;
            }
            if (below > violation && below > tolerance * kc_qp_unit(qp, w, i)) {
                violation = below;
                entering = i;
                side = -1;
            }
        }
        if (entering < 0) {
            double before = w->kkt;
            w->kkt = kc_qp_residual(qp, w, g, lo, hi, saved);
            if (w->kkt <= (qp->strict ? KC_QP_EXACT : KC_QP_REFINE) || refinements >= 3 || (refinements > 0 && !(w->kkt < before)))
                return w->kkt <= KC_QP_ACCEPT ? KC_QP_SOLVED : KC_QP_INACCURATE;
            kc_qp_newton(qp, w, g, lo, hi);
            refinements++;
            continue;
        }
        bound = side > 0 ? hi[entering] : lo[entering];
        for (;;) { /* partial steps: constraints leave until the entering one can be met */
            double full = INFINITY, partial = INFINITY, pivot = 0.0, step, rest, whole;
            int leaving = -1;
            if (w->iterations++ >= max_iterations) return KC_QP_ITERATION_LIMIT;
            kc_qp_project(qp, w, entering, (double)side, w->d);
            for (i = 0; i < w->k; i++) w->r[i] = w->d[i];
            kc_qp_back(w, w->r);
            rest = kc_dot(size - w->k, w->d + w->k, w->d + w->k);
            whole = rest + kc_dot(w->k, w->d, w->d);
            if (rest > KC_QP_DEPENDENT * whole) full = violation / rest;
            for (i = 0; i < w->k; i++) {
                double ratio;
                if (!(w->r[i] > 0.0)) continue;
                ratio = w->lam[i] / w->r[i];
                if (ratio < partial || (ratio <= partial && w->r[i] > pivot)) {
                    partial = ratio;
                    pivot = w->r[i];
                    leaving = i;
                }
            }
            step = fmin(full, partial);
            if (!isfinite(step)) {
                /* The normal is minus a non-negative combination of active ones, so no x satisfies all of them,
                 * unless the violation is but the rounding of nearly parallel constraints. */
                if (isfinite(violation) && violation <= KC_QP_TOLERATED * w->size) {
                    tolerance = KC_QP_TOLERATED;
                    begin = 1;
                    break;
                }
                return isfinite(whole) && isfinite(violation) ? KC_QP_INFEASIBLE : KC_QP_INACCURATE;
            }
            for (i = 0; i < w->k; i++) w->lam[i] = fmax(w->lam[i] - step * w->r[i], 0.0);
            multiplier += step;
            if (isfinite(full))
                for (i = w->k; i < size; i++) kc_axpy(size, -step * w->d[i], w->Jt + i * size, w->x);
            if (full <= partial) {
                kc_qp_enter(qp, w, entering, side, multiplier);
                refinements = 0;
                break;
            }
            kc_qp_leave(qp, w, leaving);
            violation = (double)side * (kc_qp_value(qp, entering, w->x) - bound);
            if (!(violation > 0.0)) violation = 0.0;
        }
    }
}

/* Solve for one gradient and one set of bounds, from the last working set if there is one. Nothing is believed
 * that a warm start says but a certified solution: anything else is asked again from the start. */
static int kc_qp_solve(const kc_qp *qp, kc_qp_work *w, const double *g, const double *lo, const double *hi,
                       int max_iterations, int *saved) {
    int size = kc_qp_size(qp), status, i, warm = w->k >= 0;
    w->iterations = 0;
    w->kkt = NAN;
    if (!kc_qp_measure(qp, w, g, lo, hi)) return KC_QP_BEYOND;
    if (warm) {
        if (w->changes > KC_QP_REFACTOR) kc_qp_refactor(qp, w, saved);
        /* A bound that has gone cannot stay active. */
        for (i = w->k - 1; i >= 0; i--) {
            int c = w->active[i];
            if (!isfinite(w->side[c] > 0 ? hi[c] : lo[c])) kc_qp_leave(qp, w, i);
        }
        w->kkt = NAN;
        status = kc_qp_iterate(qp, w, g, lo, hi, max_iterations, saved);
        if (status == KC_QP_SOLVED) return status;
    }
    kc_qp_start(qp, w);
    for (i = 0; i < size; i++) w->x[i] = 0.0;
    w->iterations = 0;
    w->kkt = NAN;
    status = kc_qp_iterate(qp, w, g, lo, hi, max_iterations, saved);
    if (status != KC_QP_SOLVED) w->k = -1;
    return status;
}
