/* Tube predictive control: see koopctrl.controllers.mpc.tube_law. Variables are what is added to a feedback at each step,
 * then the artificial target's coordinates. Rows are the inputs, step by step, of which those of the first step are never
 * relaxed; bounded combinations of states; the terminal set. */

#define KC_SIZE (KC_N_V + KC_N_SOFT)
#define KC_N_ROWS (KC_N_HARD + KC_N_E)

/* Gradient and bounds from what is known. Tells whether they are finite. */
static int kc_pose(NAME_state *s, const double *r) {
    int i;
    for (i = 0; i < KC_N_V; i++) {
        s->g[i] = kc_g_constant[i] + kc_dot(KC_N_P, kc_g_p + i * KC_N_P, s->p) + kc_dot(KC_N_Y, kc_g_reference + i * KC_N_Y, r);
        s->lo[i] = -INFINITY;
        s->hi[i] = INFINITY;
    }
    for (i = 0; i < KC_N_ROWS; i++) {
        double free = kc_row_level[i] + kc_dot(KC_N_P, kc_row_p + i * KC_N_P, s->p);
        if (!isfinite(free)) return 0;
        s->lo[KC_N_V + i] = kc_lower[i] - free;
        s->hi[KC_N_V + i] = kc_upper[i] - free;
    }
    return kc_all_finite(KC_N_V, s->g);
}

static int kc_find_plan(NAME_state *s, const kc_asked *asked, double *lqr, NAME_info *info) {
    static const kc_qp posed = {KC_N_V, KC_N_ROWS, 0, 0, 0, 0, 0, KC_N_INPUTS, 0};
    kc_qp hard = posed;
    kc_asked q = *asked;
    const double *v, *r;
    double scaled[KC_N_V];
    int i;
#if KC_N_MASKS * KC_N_TUNINGS > 1
    kc_select(s, &q);
#endif
#if KC_UNTRACKED
    kc_complete(s, &q);
#endif
    r = kc_reference(q.reference, q.n_rows, q.preview ? KC_HORIZON : 0); /* targets are held for good */
    if (!kc_all_finite(KC_N_P, s->p) || !kc_pose(s, r)) {
        info->reason = NAME_REASON_STATE;
        return 0;
    }
    hard.A = kc_rows;
    hard.H = kc_H;
    hard.Linv = kc_Linv;
    v = kc_solve_qp(s, &hard, kc_slack_unit, kc_slack_gradient, kc_slack_size, info);
    if (v == 0) {
        kc_lqr(s, r, lqr);
        return 0;
    }
    for (i = 0; i < KC_N_V; i++) scaled[i] = v[i] * kc_scale[i];
    for (i = 0; i < KC_HORIZON * KC_N_U; i++)
        s->plan[i] = kc_plan_level[i] + kc_dot(KC_N_P, kc_plan_p + i * KC_N_P, s->p) + kc_dot(KC_N_V, kc_plan_v + i * KC_N_V, scaled);
    return 1;
}
