/* Predictive control on a lifted linear model, condensed: see koopctrl.controllers.mpc.linear, step by step.
 *
 * p are the raw features of the measurement, z = basis p + offset the lifted state. All that is known before the
 * QP, its gradient and its rows' bounds, is affine in p, the reference, the last input and w, which holds the inputs on
 * their way and measured disturbances: products whose size does not grow with the square of the lifted dimension.
 *
 * What leaves here is finite and obeys the bounds on inputs (clipped last) and on moves, whatever comes in. */

#define KC_SIZE (KC_N_V + KC_N_SOFT)

#if KC_N_W > 0
/* Inputs on their way, then measured disturbances, in deviations. */
static void kc_set_known(NAME_state *s) {
    int i;
    for (i = 0; i < KC_DELAY * KC_N_U; i++) s->w[i] = s->line[KC_N_U + i] - kc_u_op[i % KC_N_U];
#if KC_N_TOLD > 0
    for (i = 0; i < (KC_HORIZON + KC_DELAY) * KC_N_TOLD; i++)
        s->w[KC_DELAY * KC_N_U + i] = s->told[i] - kc_told_op[i % KC_N_TOLD];
#endif
}
#endif

/* Where the inputs are a feedback u = -K z + v, they are rows that the state enters, and so are their moves. */
#define KC_N_ROWS (KC_N_HARD + KC_N_E)
#define KC_N_STATIC (KC_N_INPUTS > 0 ? 0 : KC_N_RATE)
#define KC_N_KNOWN (KC_N_V + KC_N_ROWS - KC_N_STATIC)

/* What is known of entry i of the gradient and, after it, of the rows from KC_N_STATIC on. `wish` is the input wished for in the
 * steady state, or a null pointer. */
static double kc_known(const NAME_state *s, int i, const kc_asked *q, const double *wish) {
    const double *reference = q->reference;
    int n_rows = q->n_rows, preview = q->preview;
    const double *matrix = preview ? kc_online_preview : kc_online_set_point;
    double sum = (preview ? kc_constant_preview : kc_constant_set_point)[i] + kc_dot(KC_N_P, matrix + i * KC_N_P, s->p);
    int k;
#if KC_N_W > 0
    sum += kc_dot(KC_N_W, (preview ? kc_from_known_preview : kc_from_known_set_point) + i * KC_N_W, s->w);
#endif
    /* References reach the gradient, and those rows that count from the target: the last ones. */
    if (i >= KC_N_V) i = i >= KC_N_KNOWN - KC_N_END ? i - KC_N_KNOWN + KC_N_V + KC_N_END : -1;
    if (i < 0) return sum;
    if (!preview) sum += kc_dot(KC_N_Y, kc_from_set_point + i * KC_N_Y, reference);
    for (k = 0; preview && k <= KC_HORIZON; k++)
        sum += kc_dot(KC_N_Y, kc_from_preview + (i * (KC_HORIZON + 1) + k) * KC_N_Y, kc_reference(reference, n_rows, k));
    if (wish != 0) sum += kc_dot(KC_N_U, (preview ? kc_from_wish_preview : kc_from_wish) + i * KC_N_U, wish);
    return sum;
}

/* Gradient and bounds from what is known. Tells whether they are finite. */
static int kc_pose(NAME_state *s, const kc_asked *q, const double *wish) {
    int i, j, k;
    double *g = s->g, *lo = s->lo, *hi = s->hi;
    for (i = 0; i < KC_N_V; i++) g[i] = kc_known(s, i, q, wish);
    for (k = 0; k < KC_HORIZON && q->n_input_rows > 0; k++) { /* the input cost counts from a trajectory */
        double steady[KC_N_U], off[KC_N_U];
        const double *row = q->input + (k < q->n_input_rows ? k : q->n_input_rows - 1) * KC_N_U;
        kc_steady_input(s, q->preview ? kc_reference(q->reference, q->n_rows, k) : q->reference, wish, steady);
        for (j = 0; j < KC_N_U; j++) off[j] = row[j] - steady[j];
        for (i = 0; i < KC_N_V; i++)
            g[i] += kc_dot(KC_N_U, kc_from_input_preview + (i * KC_HORIZON + k) * KC_N_U, off);
    }
    for (i = 0; i < KC_N_V + KC_N_ROWS; i++) {
        lo[i] = kc_lower[i];
        hi[i] = kc_upper[i];
    }
    for (j = 0; j < KC_N_U; j++) {
        double last = kc_effective_last(s, j) - kc_u_op[j];
#if KC_RATE_COST
        for (i = 0; i < KC_N_V; i++) g[i] += kc_from_last_input[i * KC_N_U + j] * last;
#endif
#if KC_N_RATE > 0
        i = KC_N_V + KC_N_INPUTS + j;
        lo[i] += last * kc_row_scale[KC_N_INPUTS + j];
        hi[i] += last * kc_row_scale[KC_N_INPUTS + j];
#else
        (void)last;
#endif
    }
    for (i = KC_N_V; i < KC_N_KNOWN; i++) {
        double free = kc_known(s, i, q, wish);
        lo[KC_N_STATIC + i] -= free;
        hi[KC_N_STATIC + i] -= free;
        if (!isfinite(free)) return 0;
#if KC_N_INPUTS > 0
        if (i < KC_N_V + KC_N_INPUTS) s->input_free[i - KC_N_V] = free;
#endif
    }
    return kc_all_finite(KC_N_V, g);
}

static int kc_find_plan(NAME_state *s, const kc_asked *asked, double *lqr, NAME_info *info) {
    const double *v;
    double set_point[KC_N_Y], wish[KC_N_U];
    kc_asked q = *asked;
    kc_qp hard = {KC_N_V, KC_N_ROWS, 0, 0, 0, 0, 0, KC_N_INPUTS, KC_N_INPUTS > 0};
    int i, wished = q.input != 0 && q.n_input_rows == 0;
    for (i = 0; i < KC_N_U && wished; i++) wish[i] = q.input[i] - kc_u_op[i];
#if KC_N_MASKS * KC_N_TUNINGS > 1
    kc_select(s, &q);
#endif
#if KC_UNTRACKED
    for (i = 0; i <= KC_HORIZON && q.preview; i++) q.left_out[i] = kc_left_out(&q, i);
    kc_complete(s, &q);
#endif
#if KC_N_W > 0
    kc_set_known(s);
#endif
    for (i = 0; i < KC_N_Y && !q.preview; i++) set_point[i] = q.reference[i];
    if (!q.preview) q.reference = set_point;
#if KC_MOVES_SET_POINT
    if (!q.preview && kc_all_finite(KC_N_P, s->p)) wished = kc_nearest(s, set_point, wished ? wish : 0, wish) || wished;
#endif
    if (!kc_all_finite(KC_N_P, s->p) || !kc_pose(s, &q, wished ? wish : 0)) {
        info->reason = NAME_REASON_STATE;
        return 0;
    }
    hard.A = kc_rows;
    hard.H = kc_H;
    hard.Linv = kc_Linv;
#if KC_MIXES
    if (!kc_mix(s, &q, &hard)) {
        info->reason = NAME_REASON_INACCURATE;
        return 0;
    }
#endif
    v = kc_solve_qp(s, &hard, kc_slack_unit, kc_slack_gradient, kc_slack_size, info);
    if (v == 0) {
#if KC_HAS_LQR
        if (kc_lqr_there[0]) kc_lqr(s, kc_reference(q.reference, q.n_rows, 0), lqr);
        for (i = 0; i < KC_N_U && wished && kc_lqr_there[0]; i++) lqr[i] += kc_dot(KC_N_U, kc_lqr_wish + i * KC_N_U, wish);
#endif
        (void)lqr;
        return 0;
    }
    for (i = 0; i < KC_HORIZON * KC_N_U; i++) {
        int j = i % KC_N_U, k = kc_block[i / KC_N_U] * KC_N_U + j;
#if KC_N_INPUTS > 0
        s->plan[i] = (kc_dot(KC_N_V, kc_rows + k * KC_N_V, v) + s->input_free[k]) / kc_row_scale[k] + kc_u_op[j];
#else
        s->plan[i] = v[k] * kc_scale[k] + kc_u_op[j];
#endif
    }
    return 1;
}
