/* Steady inputs of a preview's rows: see koopctrl.controllers.steady_state.network. Each row starts at the nearest of the
 * last sample's, or of the end's, a few Newton steps off; one that has none near is searched for. */

#define KC_FOLLOWED 1.0 /* distance in the outputs' scale over which a row is followed */
#define KC_FOLLOW_STEPS 4
#define KC_ROW_STEADY 1e-4
#define KC_ROW_SETTLED 1e-2
#define KC_ROW_EXACT KC_TIGHT(1e-8, 1e-5)
#define KC_N_KKT (KC_N_W + KC_N_X)

/* The Newton step from w, in s->rhs, with those inputs led to `goal` that are held; tells whether there is one. */
static int kc_follow_step(NAME_state *s, const double *w, const double *aim, const double *gap, const int *held,
                          const double *goal) {
    double *M = s->kkt, *F = s->rhs;
    int i, j;
    for (i = 0; i < KC_N_KKT * KC_N_KKT; i++) M[i] = 0.0;
    for (i = 0; i < KC_N_W; i++) {
        F[i] = 0.0;
        for (j = 0; j < KC_N_W; j++) {
            double weight = kc_target_weight(s, i, j);
            M[i * KC_N_KKT + j] = weight;
            F[i] += weight * (aim[j] - w[j]);
        }
        for (j = 0; j < KC_N_X; j++) {
            double entry = i < KC_N_X ? s->a[j * KC_N_X + i] : s->b[j * KC_N_U + i - KC_N_X];
            M[i * KC_N_KKT + KC_N_W + j] = M[(KC_N_W + j) * KC_N_KKT + i] = entry;
        }
    }
    for (i = 0; i < KC_N_X; i++) F[KC_N_W + i] = -gap[i];
    for (i = 0; i < KC_N_U; i++) {
        int p = KC_N_X + i;
        if (!held[i]) continue;
        for (j = 0; j < KC_N_KKT; j++) M[p * KC_N_KKT + j] = p == j ? 1.0 : 0.0;
        F[p] = goal[i] - w[p];
    }
    return kc_eliminate(KC_N_KKT, 1, M, F);
}

/* Newton steps to the steady state of one row from (x, u), which is left there if it arrives; tells whether it does. */
static int kc_follow(NAME_state *s, const double *r, double *x, double *u) {
    double w[KC_N_W], aim[KC_N_W], gap[KC_N_X], goal[KC_N_U], low[KC_N_U], high[KC_N_U], sum, size = INFINITY;
    int held[KC_N_U], i, step, outside;
    for (i = 0; i < KC_N_X; i++) {
        w[i] = x[i] / kc_x_scale[i];
        aim[i] = i < KC_N_Y ? r[i] / kc_x_scale[i] : 0.0;
    }
    for (i = 0; i < KC_N_U; i++) {
        low[i] = kc_u_min[i] / kc_move_scale[i];
        high[i] = kc_u_max[i] / kc_move_scale[i];
        w[KC_N_X + i] = kc_clip(u[i] / kc_move_scale[i], low[i], high[i]);
        aim[KC_N_X + i] = s->wish[i] / kc_move_scale[i];
    }
    for (step = 0; step < KC_FOLLOW_STEPS && size > KC_ROW_EXACT; step++) {
        double longest = 0.0;
        if (!isfinite(kc_target_gap(s, w, gap, &sum))) return 0;
        kc_target_rows(s, w);
        for (i = 0; i < KC_N_U; i++) held[i] = 0;
        if (!kc_follow_step(s, w, aim, gap, held, goal)) return 0;
        for (i = 0, outside = 0; i < KC_N_U; i++) {
            double next = w[KC_N_X + i] + s->rhs[KC_N_X + i];
            held[i] = next < low[i] || next > high[i];
            goal[i] = kc_clip(next, low[i], high[i]);
            outside |= held[i];
        }
        if (outside && !kc_follow_step(s, w, aim, gap, held, goal)) return 0;
        for (i = 0; i < KC_N_W; i++) {
            longest = fmax(longest, fabs(s->rhs[i]));
            w[i] += s->rhs[i];
        }
        for (i = 0; i < KC_N_U; i++) w[KC_N_X + i] = kc_clip(w[KC_N_X + i], low[i], high[i]);
        size = fmin(size, longest);
    }
    if (!(kc_target_gap(s, w, gap, &sum) < KC_ROW_STEADY && size < KC_ROW_SETTLED)) return 0;
    if (!(kc_target_cost(s, KC_N_Y, w, aim) <= KC_REACHED * KC_REACHED * kc_size[0])) return 0;
    for (i = 0; i < KC_N_X; i++) x[i] = w[i] * kc_x_scale[i];
    for (i = 0; i < KC_N_U; i++) u[i] = w[KC_N_X + i] * kc_move_scale[i];
    return 1;
}

/* Which row of the last sample is nearest to r, or KC_HORIZON for the end's target, and how far it is, in the outputs'
 * scale; one of them that has its answer already comes first: its distance is then negative. */
static int kc_nearest_row(const NAME_state *s, const double *r, const double *marks, int same_context, double *distance) {
    int i, j, nearest = 0, exact = -1;
    *distance = INFINITY;
    for (j = 0; j <= KC_HORIZON; j++) {
        const double *row = j < KC_HORIZON ? s->row_r + j * KC_N_Y : s->answered;
        const double *counted = j < KC_HORIZON ? s->row_marks + j * KC_N_Y : s->answered + KC_N_Y;
        double far = 0.0;
        if (j < KC_HORIZON ? !s->has_rows : !s->end_converged) continue;
        for (i = 0; i < KC_N_Y; i++) {
            far = fmax(far, fabs(r[i] - row[i]) / kc_x_scale[i]);
            if (marks[i] != counted[i]) far = INFINITY;
        }
        if (exact < 0 && far == 0.0 && (j == KC_HORIZON || same_context)) exact = j;
        if (far < *distance) {
            *distance = far;
            nearest = j;
        }
    }
    if (exact < 0) return nearest;
    *distance = -1.0;
    return exact;
}

/* Set-point and marks of row k, from now on those of the search. */
static const double *kc_begin_row(NAME_state *s, int k) {
    int i;
    for (i = 0; i < KC_N_Y; i++) s->mark[i] = s->marks[k * KC_N_Y + i];
    return s->wanted + k * KC_N_Y;
}

/* Steady inputs of all rows; the end's target is there already, and stays. */
static void kc_find_rows(NAME_state *s) {
    const double *context = s->answered + 2 * KC_N_Y;
    int i, j, k, same = s->has_rows, lost[KC_HORIZON], tried_all;
    for (i = 0; i < KC_N_ASKED - 2 * KC_N_Y; i++) same = same && s->row_context[i] == context[i];
    for (k = 0; k < KC_HORIZON; k++) {
        const double *r = kc_begin_row(s, k);
        double *x = s->new_x + k * KC_N_X, *u = s->steady + k * KC_N_U, distance;
        int from = kc_nearest_row(s, r, s->mark, same, &distance);
        for (i = 0; i < KC_N_X; i++) x[i] = from < KC_HORIZON ? s->row_x[from * KC_N_X + i] : s->end_x[i];
        for (i = 0; i < KC_N_U; i++) u[i] = from < KC_HORIZON ? s->row_u[from * KC_N_U + i] : s->end_u[i];
        lost[k] = 0;
        if (distance < 0.0) continue;
        lost[k] = !(distance <= KC_FOLLOWED) || (!kc_follow(s, r, x, u) && distance > KC_NEAR);
    }
    for (k = 0; k < KC_HORIZON; k++) {
        const double *r = kc_begin_row(s, k);
        double *x = s->new_x + k * KC_N_X, *u = s->steady + k * KC_N_U;
        const double *same_x = s->end_x, *same_u = s->end_u;
        int known = 0;
        if (!lost[k]) continue;
        for (j = 0; j < k && !known; j++) { /* the same row has been searched for */
            known = lost[j];
            for (i = 0; i < KC_N_Y; i++)
                known = known && s->wanted[j * KC_N_Y + i] == r[i] && s->marks[j * KC_N_Y + i] == s->mark[i];
            if (!known) continue;
            same_x = s->new_x + j * KC_N_X;
            same_u = s->steady + j * KC_N_U;
        }
        for (i = 0; i < KC_N_X; i++) x[i] = same_x[i];
        for (i = 0; i < KC_N_U; i++) u[i] = same_u[i];
        if (!known) (void)kc_search_target(s, r, 0, x, u, &tried_all);
    }
    for (i = 0; i < KC_HORIZON * KC_N_Y; i++) {
        s->row_r[i] = s->wanted[i];
        s->row_marks[i] = s->marks[i];
    }
    for (i = 0; i < KC_HORIZON * KC_N_X; i++) s->row_x[i] = s->new_x[i];
    for (i = 0; i < KC_HORIZON * KC_N_U; i++) s->row_u[i] = s->steady[i];
    for (i = 0; i < KC_N_ASKED - 2 * KC_N_Y; i++) s->row_context[i] = context[i];
    s->has_rows = 1;
}
