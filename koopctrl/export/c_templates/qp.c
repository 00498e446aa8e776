/* Dense convex QP by the dual active-set method of Goldfarb and Idnani (Mathematical Programming 27, 1983).
 *
 *     min  1/2 v'Hv + 1/2 e'e + g'(v, e)
 *     s.t. lo <= (v, e) <= hi                                    bounds on variables and slacks
 *          lo <= A v + unit e,   A v - unit e <= hi              rows; only the last n_slack have a slack
 *
 * H is positive definite. Without slacks both sides of a row are one constraint. No allocation, no recursion,
 * no global state: all memory is in the workspace that the caller hands over.
 *
 * Invariants, with W the working set, N = [side_i a_i] its outward normals and k = |W|:
 *   (1) J'HJ = I and J'N = [R; 0] with R upper triangular. Jt holds J transposed, so that both updates of the
 *       factor (a reflection when a constraint enters, rotations when one leaves) run along rows in memory.
 *   (2) x minimises the objective on {a_i x = bound_i, i in W}, and its multipliers lam are not negative. So x is
 *       the optimum over the constraints in W alone, its value is a lower bound, and each constraint that enters
 *       raises it: no set of constraints returns, and the method is finite. It starts from any set whose
 *       multipliers are not negative: a warm start costs only the removal of those that are.
 *   (3) R and J depend on H, A and W, not on g or the bounds: for a constant H they outlive the sample.
 * Rounding in (1) is bounded by refactoring after KC_QP_REFACTOR changes; every answer is certified by its KKT
 * residual, computed from H and A themselves. */

#include <math.h>

#define KC_QP_FEASIBLE 1e-9   /* violation, relative to 1 + |bound|, from which a constraint counts as violated */
#define KC_QP_TOLERATED 1e-7  /* violation left to a constraint that depends on others which cannot leave */
#define KC_QP_DEPENDENT 1e-20 /* squared sine of the angle below which a normal counts as a combination of others */
#define KC_QP_REFINE 1e-10    /* KKT residual above which an answer is refined */
#define KC_QP_ACCEPT 1e-6     /* KKT residual up to which an answer counts as a solution */
#define KC_QP_REFACTOR 200

enum { KC_QP_SOLVED = 0, KC_QP_INFEASIBLE = 1, KC_QP_ITERATION_LIMIT = 2, KC_QP_INACCURATE = 3 };

typedef struct {
    int n;              /* variables v */
    int m;              /* rows of A */
    int n_slack;        /* slacks e: on the last n_slack rows */
    const double *H;    /* n x n */
    const double *A;    /* m x n */
    const double *Linv; /* n x n, lower triangular: H^-1 = Linv' Linv */
    const double *unit; /* n_slack */
} kc_qp;

/* With N = n + n_slack and n_c = N + m + n_slack constraints: variables, slacks, rows, rows' upper sides. */
typedef struct {
    double *Jt;    /* N x N */
    double *R;     /* N (N + 1) / 2, packed by columns */
    double *x;     /* N */
    double *lam;   /* N, multipliers of the working set */
    double *d;     /* N */
    double *r;     /* N */
    double *work;  /* N */
    double *value; /* n_c */
    int *active;   /* N, constraints in the working set */
    int *side;     /* n_c: 1 at its upper bound, -1 at its lower, 0 if not in the working set */
    int k;         /* size of the working set; -1 before the first factorisation */
    int changes;   /* of the working set since the last factorisation */
    int iterations;
    double kkt;
} kc_qp_work;

static double kc_dot(int n, const double *a, const double *b) {
    /* Four sums, since a compiler may not reorder one: it would wait for each addition. */
    double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
    int i;
    for (i = 0; i + 3 < n; i += 4) {
        s0 += a[i] * b[i];
        s1 += a[i + 1] * b[i + 1];
        s2 += a[i + 2] * b[i + 2];
        s3 += a[i + 3] * b[i + 3];
    }
    for (; i < n; i++) s0 += a[i] * b[i];
    return (s0 + s1) + (s2 + s3);
}

static void kc_axpy(int n, double alpha, const double *x, double *y) {
    int i;
    for (i = 0; i < n; i++) y[i] += alpha * x[i];
}

static int kc_qp_size(const kc_qp *qp) { return qp->n + qp->n_slack; }

static int kc_qp_constraints(const kc_qp *qp) { return qp->n + qp->m + 2 * qp->n_slack; }

static double *kc_qp_column(const kc_qp_work *w, int j) { return w->R + j * (j + 1) / 2; }

/* Row of A and slack of constraint c; the row is -1 for a bound, the slack's coefficient 0 where there is none. */
static int kc_qp_row(const kc_qp *qp, int c, int *slack, double *coefficient) {
    int size = kc_qp_size(qp), hard = qp->m - qp->n_slack, row;
    *slack = 0;
    *coefficient = 0.0;
    if (c < size) return -1;
    row = c - size;
    if (row < qp->m) {
        if (row >= hard && qp->n_slack) {
            *slack = row - hard;
            *coefficient = qp->unit[*slack];
        }
        return row;
    }
    row -= qp->n_slack;
    *slack = row - hard;
    *coefficient = -qp->unit[*slack];
    return row;
}

/* y += alpha a_c */
static void kc_qp_add_normal(const kc_qp *qp, int c, double alpha, double *y) {
    int slack;
    double coefficient;
    int row = kc_qp_row(qp, c, &slack, &coefficient);
    if (row < 0) {
        y[c] += alpha;
        return;
    }
    kc_axpy(qp->n, alpha, qp->A + row * qp->n, y);
    if (coefficient != 0.0) y[qp->n + slack] += alpha * coefficient;
}

static double kc_qp_value(const kc_qp *qp, int c, const double *x) {
    int slack;
    double coefficient;
    int row = kc_qp_row(qp, c, &slack, &coefficient);
    if (row < 0) return x[c];
    return kc_dot(qp->n, qp->A + row * qp->n, x) + (coefficient != 0.0 ? coefficient * x[qp->n + slack] : 0.0);
}

/* d = J' a_c side */
static void kc_qp_project(const kc_qp *qp, const kc_qp_work *w, int c, double side, double *d) {
    int size = kc_qp_size(qp), slack, j;
    double coefficient;
    int row = kc_qp_row(qp, c, &slack, &coefficient);
    for (j = 0; j < size; j++) {
        const double *column = w->Jt + j * size;
        if (row < 0) {
            d[j] = side * column[c];
        } else {
            double sum = kc_dot(qp->n, qp->A + row * qp->n, column);
            if (coefficient != 0.0) sum += coefficient * column[qp->n + slack];
            d[j] = side * sum;
        }
    }
}

/* r = R^-1 r on the leading k entries */
static void kc_qp_back(const kc_qp_work *w, double *r) {
    int j;
    for (j = w->k - 1; j >= 0; j--) {
        const double *column = kc_qp_column(w, j);
        r[j] /= column[j];
        kc_axpy(j, -r[j], column, r);
    }
}

/* r = R^-T r on the leading k entries */
static void kc_qp_forward(const kc_qp_work *w, double *r) {
    int j;
    for (j = 0; j < w->k; j++) {
        const double *column = kc_qp_column(w, j);
        r[j] = (r[j] - kc_dot(j, column, r)) / column[j];
    }
}

/* Constraint c enters the working set, d being J' a_c side. A Householder reflection of the last size - k rows of
 * Jt turns d into [d_1; alpha; 0], which becomes R's new column; sign of alpha opposite to d_k: no cancellation. */
static void kc_qp_enter(const kc_qp *qp, kc_qp_work *w, int c, int side, double multiplier) {
    int size = kc_qp_size(qp), k = w->k, j;
    double *d = w->d, *column = kc_qp_column(w, k), *v = d + k, alpha, beta;
    double norm = sqrt(kc_dot(size - k, v, v));
    alpha = v[0] > 0.0 ? -norm : norm;
    for (j = 0; j < k; j++) column[j] = d[j];
    column[k] = alpha;
    v[0] -= alpha;
    beta = norm * (norm + fabs(v[0] + alpha)); /* |v|^2 / 2 */
    if (beta > 0.0) {
        for (j = 0; j < size; j++) w->work[j] = 0.0;
        for (j = k; j < size; j++) kc_axpy(size, d[j], w->Jt + j * size, w->work);
        for (j = k; j < size; j++) kc_axpy(size, -d[j] / beta, w->work, w->Jt + j * size);
    }
    w->active[k] = c;
    w->side[c] = side;
    w->lam[k] = multiplier;
    w->k = k + 1;
    w->changes++;
}

/* The constraint at a position of the working set leaves: R loses a column, and rotations make it triangular. */
static void kc_qp_leave(const kc_qp *qp, kc_qp_work *w, int position) {
    int size = kc_qp_size(qp), i, j;
    w->side[w->active[position]] = 0;
    for (j = position; j < w->k - 1; j++) {
        double *to = kc_qp_column(w, j), *from = kc_qp_column(w, j + 1);
        for (i = 0; i <= j; i++) to[i] = from[i];
        w->active[j] = w->active[j + 1];
        w->lam[j] = w->lam[j + 1];
        /* The subdiagonal entry that column j would need is the old diagonal of column j + 1: rotate it away now.
         * Rows j and j + 1 of the later columns are still in their old places. */
        {
            double a = to[j], b = from[j + 1], h = hypot(a, b);
            double c = h > 0.0 ? a / h : 1.0, s = h > 0.0 ? b / h : 0.0;
            double *p = w->Jt + j * size, *q = p + size;
            to[j] = h;
            for (i = j + 2; i < w->k; i++) {
                double *later = kc_qp_column(w, i);
                double upper = later[j], lower = later[j + 1];
                later[j] = c * upper + s * lower;
                later[j + 1] = c * lower - s * upper;
            }
            for (i = 0; i < size; i++) {
                double upper = p[i], lower = q[i];
                p[i] = c * upper + s * lower;
                q[i] = c * lower - s * upper;
            }
        }
    }
    w->k--;
    w->changes++;
}

/* Factor of the starting set: all slacks at zero (the soft problem's cold start), nothing else. */
static void kc_qp_start(const kc_qp *qp, kc_qp_work *w) {
    int size = kc_qp_size(qp), n = qp->n, n_slack = qp->n_slack, i, j;
    for (i = 0; i < size * size; i++) w->Jt[i] = 0.0;
    for (j = 0; j < n_slack; j++) {
        double *column = kc_qp_column(w, j);
        w->Jt[j * size + n + j] = -1.0;
        for (i = 0; i < j; i++) column[i] = 0.0;
        column[j] = 1.0;
        w->active[j] = n + j;
        w->lam[j] = 0.0;
    }
    for (i = 0; i < n; i++)
        for (j = 0; j <= i; j++) w->Jt[(n_slack + i) * size + j] = qp->Linv[i * n + j];
    for (i = 0; i < kc_qp_constraints(qp); i++) w->side[i] = 0;
    for (j = 0; j < n_slack; j++) w->side[n + j] = -1;
    w->k = n_slack;
    w->changes = 0;
}

/* Enter a normal into the factor alone, unless it depends on those already there; tells whether it entered. */
static int kc_qp_reenter(const kc_qp *qp, kc_qp_work *w, int c, int side) {
    int size = kc_qp_size(qp);
    double rest;
    if (w->k >= size) return 0;
    kc_qp_project(qp, w, c, (double)side, w->d);
    rest = kc_dot(size - w->k, w->d + w->k, w->d + w->k);
    if (!(rest > KC_QP_DEPENDENT * kc_dot(size, w->d, w->d))) return 0;
    kc_qp_enter(qp, w, c, side, 0.0);
    return 1;
}

/* The same working set, factored afresh: `saved` needs 2 N integers. */
static void kc_qp_refactor(const kc_qp *qp, kc_qp_work *w, int *saved) {
    int k = w->k, size = kc_qp_size(qp), i;
    for (i = 0; i < k; i++) {
        saved[i] = w->active[i];
        saved[size + i] = w->side[w->active[i]];
    }
    kc_qp_start(qp, w);
    /* Slacks that had left the working set leave the starting set too. */
    for (i = 0; i < qp->n_slack; i++) {
        int j, kept = 0;
        for (j = 0; j < k; j++) kept |= saved[j] == qp->n + i;
        for (j = w->k - 1; !kept && j >= 0; j--)
            if (w->active[j] == qp->n + i) kc_qp_leave(qp, w, j);
    }
    for (i = 0; i < k; i++)
        if (w->side[saved[i]] == 0) (void)kc_qp_reenter(qp, w, saved[i], saved[size + i]);
    w->changes = 0;
}

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

/* Largest scaled violation of the KKT conditions (values up to date), as koopctrl.controllers.solvers defines it:
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
