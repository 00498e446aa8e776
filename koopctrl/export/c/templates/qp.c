/* The dual active-set iteration on the factor of qp_factor.c, and the certificate of its answer. */

/* One Newton step on the equality problem of the working set. With y = J^-1 dx, the defects of stationarity rd and
 * of the active constraints rp give  y + [R; 0] dlam = -J'rd,  [R' 0] y = -rp. From any x it lands on the optimum;
 * repeated, it is iterative refinement, because the defects come from H and A and not from the factor. */
static void kc_qp_newton(const kc_qp *qp, kc_qp_work *w, const double *g, const double *lo, const double *hi) {
    int size = kc_qp_size(qp), i;
    double *defect = w->work, *y = w->d, *rp = w->r;
    for (i = 0; i < qp->n; i++) defect[i] = g[i] + kc_dot(qp->n, qp->H + i * qp->n, w->x);
    for (i = qp->n; i < size; i++) defect[i] = g[i] + w->x[i];
    for (i = 0; i < w->k; i++) {
        int c = w->active[i];
        double side = (double)w->side[c];
        kc_qp_add_normal(qp, c, side * w->lam[i], defect);
        rp[i] = -side * (kc_qp_value(qp, c, w->x) - (w->side[c] > 0 ? hi[c] : lo[c]));
    }
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

static void kc_qp_values(const kc_qp *qp, kc_qp_work *w) {
    int size = kc_qp_size(qp), hard = qp->m - qp->n_slack, i;
    for (i = 0; i < size; i++) w->value[i] = w->x[i];
    for (i = 0; i < qp->m; i++) w->value[size + i] = kc_dot(qp->n, qp->A + i * qp->n, w->x);
    for (i = 0; i < qp->n_slack; i++) {
        double relief = qp->unit[i] * w->x[qp->n + i], row = w->value[size + hard + i];
        w->value[size + qp->m + i] = row - relief;
        w->value[size + hard + i] = row + relief;
    }
}

/* Largest scaled violation of the KKT conditions (values up to date), as koopctrl.controllers.qp.solver defines it:
 * stationarity relative to the largest gradient term, feasibility to the largest value, complementarity the smaller
 * of a multiplier and its bound's distance. NaN anywhere makes it NaN, which no comparison accepts. */
static double kc_qp_residual(const kc_qp *qp, kc_qp_work *w, const double *g, const double *lo, const double *hi) {
    int size = kc_qp_size(qp), n_c = kc_qp_constraints(qp), i;
    double dual = 0.0, primal = 0.0, worst = 0.0, check = 0.0, *defect = w->work;
    for (i = 0; i < size; i++) {
        double hx = i < qp->n ? kc_dot(qp->n, qp->H + i * qp->n, w->x) : w->x[i];
        dual = fmax(dual, fmax(fabs(g[i]), fabs(hx)));
        defect[i] = hx + g[i];
        check += defect[i];
    }
    dual += 1.0;
    for (i = 0; i < w->k; i++) kc_qp_add_normal(qp, w->active[i], (double)w->side[w->active[i]] * w->lam[i], defect);
    for (i = 0; i < size; i++) worst = fmax(worst, fabs(defect[i]) / dual);
    for (i = 0; i < n_c; i++) primal = fmax(primal, fabs(w->value[i]));
    primal += 1.0;
    for (i = 0; i < n_c; i++) {
        worst = fmax(worst, fmax(lo[i] - w->value[i], w->value[i] - hi[i]) / primal);
        check += w->value[i];
    }
    for (i = 0; i < w->k; i++) {
        int c = w->active[i];
        double distance = fabs(w->value[c] - (w->side[c] > 0 ? hi[c] : lo[c])) / primal;
        worst = fmax(worst, fmin(fabs(w->lam[i]) / dual, distance));
        worst = fmax(worst, -w->lam[i] / dual);
        check += w->lam[i];
    }
    return isfinite(check) ? worst : NAN;
}

/* The active-set iteration from a working set that satisfies (1). */
static int kc_qp_iterate(const kc_qp *qp, kc_qp_work *w, const double *g, const double *lo, const double *hi,
                         int max_iterations) {
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
        kc_qp_values(qp, w);
        for (i = 0; i < n_c; i++) {
            double above = w->value[i] - hi[i], below = lo[i] - w->value[i];
            if (w->side[i] != 0) continue;
            if (above > violation && above > tolerance * (1.0 + fabs(hi[i]))) {
                violation = above;
                entering = i;
                side = 1;
            }
            if (below > violation && below > tolerance * (1.0 + fabs(lo[i]))) {
                violation = below;
                entering = i;
                side = -1;
            }
        }
        if (entering < 0) {
            double before = w->kkt;
            w->kkt = kc_qp_residual(qp, w, g, lo, hi);
            if (w->kkt <= KC_QP_REFINE || refinements >= 3 || (refinements > 0 && !(w->kkt < before)))
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
                if (isfinite(violation) && violation <= KC_QP_TOLERATED * (1.0 + fabs(bound))) {
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
    if (warm) {
        if (w->changes > KC_QP_REFACTOR) kc_qp_refactor(qp, w, saved);
        /* A bound that has gone cannot stay active. */
        for (i = w->k - 1; i >= 0; i--) {
            int c = w->active[i];
            if (!isfinite(w->side[c] > 0 ? hi[c] : lo[c])) kc_qp_leave(qp, w, i);
        }
        w->kkt = NAN;
        status = kc_qp_iterate(qp, w, g, lo, hi, max_iterations);
        if (status == KC_QP_SOLVED) return status;
    }
    kc_qp_start(qp, w);
    for (i = 0; i < size; i++) w->x[i] = 0.0;
    w->iterations = 0;
    w->kkt = NAN;
    status = kc_qp_iterate(qp, w, g, lo, hi, max_iterations);
    if (status != KC_QP_SOLVED) w->k = -1;
    return status;
}
