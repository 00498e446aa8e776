/* Real-time iteration from one plan: see koopctrl.controllers.mpc.rnn_sqp. */

#define KC_SETTLED KC_TIGHT(1e-10, 1e-6)

/* The QP of one iteration. H is new, so the factors of kept working sets are made again. */
static const double *kc_iterate(NAME_state *s, NAME_info *info) {
    kc_qp qp;
    kc_condense(s);
    if (!kc_factor(KC_N_V, s->H, s->L, s->Linv)) {
        info->reason = NAME_REASON_INACCURATE;
        return 0;
    }
    qp.n = KC_N_V;
    qp.m = KC_N_ROWS;
    qp.n_slack = 0;
    qp.H = s->H;
    qp.A = s->rows;
    qp.Linv = s->Linv;
    qp.unit = 0;
    qp.n_inputs = KC_N_INPUTS;
    qp.strict = KC_FEEDBACK;
    s->hard_changes = s->soft_changes = KC_QP_REFACTOR + 1;
    return kc_solve_qp(s, &qp, s->slack_unit, s->slack_gradient, s->slack_size, info);
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
    for (i = 0; i < KC_N_X; i++) s->states[i] = s->trial_states[i] = s->begin[i];
    kc_roll(s, s->candidate, s->states, s->psi, s->t);
    return kc_merit(s, s->candidate, s->states);
}

#if KC_FEEDBACK
/* Plan and states moved by a part of the QP's answer. */
static void kc_move_along(NAME_state *s, const double *v, double length) {
    double change[KC_N_V];
    int i, k;
    for (i = 0; i < KC_N_V; i++) change[i] = length * v[i] * s->scale[i];
    for (k = 0; k < KC_HORIZON * KC_N_U; k++)
        s->trial[k] = s->candidate[k] + kc_dot(KC_N_V, s->input_map + k * KC_N_V, change);
    for (i = 0; i < KC_N_X; i++) s->ahead[i] = s->states[i];
    for (k = 0; k < KC_HORIZON * KC_N_X; k++)
        s->ahead[KC_N_X + k] = s->states[KC_N_X + k] + kc_dot(KC_N_V, s->gamma + k * KC_N_V, change);
}
#endif

/* Iterate from the candidate, until the cost changes by a share of `settled` or less; its merit, infinite without any
 * certified QP, with the reason in info. A shifted plan that has left its course is led back first. */
static double kc_optimise(NAME_state *s, int n_iterations, double settled, int is_shifted, NAME_info *info) {
    static const double lengths[4] = {1.0, 0.5, 0.2, 0.05};
    int iteration, try_length, answered = 0;
#if !KC_FEEDBACK
    int k;
#endif
    double merit = kc_roll_candidate(s);
#if KC_FEEDBACK
    (void)is_shifted;
    merit = kc_steer(s, merit);
#else
    if (is_shifted && kc_left_course(s, merit)) merit = kc_lead(s, merit);
#endif
    for (iteration = 0; iteration < n_iterations; iteration++) {
        NAME_info newest = *info;
        const double *v;
        int better = 0;
        double before = merit;
        if (!kc_all_finite((KC_HORIZON + 1) * KC_N_X, s->states)) {
            info->reason = NAME_REASON_STATE;
            break;
        }
        v = kc_iterate(s, &newest);
        info->iterations = newest.iterations;
        if (v == 0) {
            info->reason = newest.reason;
            break;
        }
        *info = newest;
        answered = 1;
        for (try_length = 0; try_length < 4 && !better; try_length++) {
            double value;
#if KC_FEEDBACK
            kc_move_along(s, v, lengths[try_length]);
            kc_follow_plan(s);
#else
            for (k = 0; k < KC_HORIZON * KC_N_U; k++) {
                int i = kc_block[k / KC_N_U] * KC_N_U + k % KC_N_U;
                double u = s->candidate[k] + lengths[try_length] * v[i] * s->scale[i];
                s->trial[k] = kc_clip(u, kc_u_min[k % KC_N_U], kc_u_max[k % KC_N_U]);
            }
            kc_roll(s, s->trial, s->trial_states, s->trial_psi, s->trial_t);
#endif
            value = kc_merit(s, s->trial, s->trial_states);
            if (!(value <= merit * (1.0 + KC_TIGHT(1e-12, 1e-3)))) continue;
            better = 1;
            merit = value;
            kc_adopt(s);
        }
        if (!better || before - merit <= settled * fabs(before)) break;
    }
    if (!answered) return INFINITY;
    info->reason = NAME_REASON_NONE;
    return merit;
}
