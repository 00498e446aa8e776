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
 *   (4) Multiplying g and all bounds by one number multiplies the answer by it: no tolerance is absolute.
 * Rounding in (1) is bounded by refactoring after KC_QP_REFACTOR changes; every answer is certified by a bound on its
 * error, computed from H and A themselves.
 *
 * Here: the problem, and the factor of its working set. The iteration is in qp.c. */

#include <math.h>

#define KC_QP_FEASIBLE KC_TIGHT(1e-9, 2e-6) /* violation, relative to the answer's size, from which a constraint counts as violated */
#define KC_QP_TOLERATED KC_TIGHT(1e-7, 1e-4) /* violation left to a constraint that depends on others which cannot leave */
#define KC_QP_MET KC_TIGHT(1e-7, 1e-4) /* distance up to which a bound counts as met */
#define KC_QP_ROUNDING KC_TIGHT(1e-7, 1e-5) /* part of the unconstrained optimum below which an answer's size is rounding */
#define KC_QP_DEPENDENT KC_TIGHT(1e-20, 1e-10) /* squared sine of the angle below which a normal counts as a combination of others */
#define KC_QP_REFINE KC_TIGHT(1e-10, 5e-6) /* bound on the error above which an answer is refined */
#define KC_QP_NARROW KC_TIGHT(1e-8, 1e-3) /* part of the answer's size beside which no range is narrower */
#define KC_QP_LOST KC_TIGHT(1e-7, 1e-3) /* the same where a narrower one is lost in rounding */
#define KC_QP_EXACT KC_TIGHT(1e-14, 1e-6) /* KC_QP_REFINE where bounds that are nearly met move other inputs much more */
#define KC_QP_SHARPEN KC_TIGHT(1e-9, 1e-5) /* bound above which it is worked out on the working set */
#define KC_QP_ABSURD KC_TIGHT(1e12, 1e6) /* how far beyond its bounds an unconstrained optimum makes them lost in rounding */
#define KC_QP_ACCEPT KC_TIGHT(1e-7, 2e-4) /* bound up to which an answer counts as a solution */
#define KC_QP_REFACTOR 200

enum { KC_QP_SOLVED = 0, KC_QP_INFEASIBLE = 1, KC_QP_ITERATION_LIMIT = 2, KC_QP_INACCURATE = 3, KC_QP_BEYOND = 4 };

typedef struct {
    int n;              /* variables v */
    int m;              /* rows of A */
    int n_slack;        /* slacks e: on the last n_slack rows */
    const double *H;    /* n x n */
    const double *A;    /* m x n */
    const double *Linv; /* n x n, lower triangular: H^-1 = Linv' Linv */
    const double *unit; /* n_slack */
    int n_inputs;       /* first rows that are, like v, what is asked for: they count relative to their range */
    int strict;         /* whether an answer is none beside which that range is lost in rounding */
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
    double free;   /* largest entry of the unconstrained optimum */
    double spread; /* largest sqrt((H^-1)_ii) */
    double width;  /* narrowest range of an input */
    double size;   /* of the answer, as far as it is known: what tolerances are relative to */
    double kkt;    /* bound on the error of x, relative to its size */
} kc_qp_work;

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

#if !KC_SINGLE
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
#endif

static double kc_qp_value(const kc_qp *qp, int c, const double *x) {
    int slack;
    double coefficient;
    int row = kc_qp_row(qp, c, &slack, &coefficient);
    if (row < 0) return x[c];
    return kc_dot(qp->n, qp->A + row * qp->n, x) + (coefficient != 0.0 ? coefficient * x[qp->n + slack] : 0.0);
}

#if KC_SINGLE
/* Defects are small differences: in single precision they are summed in double, or refinement would end at rounding times
 * the Hessian's condition number instead of that number's root. */
static KC_WIDE kc_dot_wide(int n, const double *a, const double *b) {
    KC_WIDE sum = 0;
    int i;
    for (i = 0; i < n; i++) sum += (KC_WIDE)a[i] * (KC_WIDE)b[i];
    return sum;
}

/* Entry i of a_c. */
static double kc_qp_entry(const kc_qp *qp, int c, int i) {
    int slack;
    double coefficient;
    int row = kc_qp_row(qp, c, &slack, &coefficient);
    if (row < 0) return c == i ? 1.0 : 0.0;
    if (i < qp->n) return qp->A[row * qp->n + i];
    return i == qp->n + slack ? coefficient : 0.0;
}

/* Entry i of the gradient that the working set's multipliers do not balance; of those constraints for which `counts`,
 * where that is no null pointer. */
static double kc_qp_defect(const kc_qp *qp, const kc_qp_work *w, const double *g, int i, const int *counts) {
    KC_WIDE sum = (KC_WIDE)g[i] + (i < qp->n ? kc_dot_wide(qp->n, qp->H + i * qp->n, w->x) : (KC_WIDE)w->x[i]);
    int j;
    for (j = 0; j < w->k; j++) {
        int c = w->active[j];
        if (counts != 0 && !counts[j]) continue;
        sum += (KC_WIDE)((double)w->side[c] * w->lam[j]) * (KC_WIDE)kc_qp_entry(qp, c, i);
    }
    return (double)sum;
}

/* a_c x - bound */
static double kc_qp_distance(const kc_qp *qp, int c, const double *x, double bound) {
    int slack;
    double coefficient;
    int row = kc_qp_row(qp, c, &slack, &coefficient);
    if (row < 0) return (double)((KC_WIDE)x[c] - (KC_WIDE)bound);
    return (double)(kc_dot_wide(qp->n, qp->A + row * qp->n, x) +
                    (coefficient != 0.0 ? (KC_WIDE)coefficient * (KC_WIDE)x[qp->n + slack] : (KC_WIDE)0.0) - (KC_WIDE)bound);
}
#endif

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
