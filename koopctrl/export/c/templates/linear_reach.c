/* Set-points whose steady input would leave its bounds: see koopctrl.controllers.steady_state.reachable, step by step. */

#define KC_REACH_SETTLED KC_TIGHT(1e-12, 1e-5) /* change of the proximal steps, relative, that ends them */

/* The input held in the steady state of a set-point, without its bounds; `wish` is in deviations, or a null pointer. */
static void kc_steady_input(const NAME_state *s, const double *r, const double *wish, double *u) {
    const double *disturbance = s->p + KC_N_P - KC_N_D;
    int i;
    for (i = 0; i < KC_N_U; i++) {
        u[i] = kc_u_offset[i] + kc_dot(KC_N_Y, kc_u_gain + i * KC_N_Y, r) +
               kc_dot(KC_N_D, kc_u_disturbance + i * KC_N_D, disturbance);
#if KC_N_TOLD > 0
        u[i] += kc_dot(KC_N_TOLD, kc_u_told + i * KC_N_TOLD, s->w + KC_N_W - KC_N_TOLD);
#endif
        if (wish != 0) u[i] += kc_dot(KC_N_U, kc_u_input + i * KC_N_U, wish);
    }
}

#if KC_MOVES_SET_POINT
#if KC_N_FREE > 0
/* Steady inputs are u_s + free_u [b; c], of which the outputs feel b alone: the first n_felt entries.
 * Here: the least |b| and then the least |c| on which low <= u - u_s <= high, in `found`; tells whether there is one. */
static int kc_within(const NAME_state *s, const double *low, const double *high, double *found) {
    double x[KC_N_FREE], lam[KC_N_FREE], d[KC_N_FREE], r[KC_N_FREE], work[KC_N_FREE], value[KC_N_FREE + KC_N_U];
    double Jt[KC_N_FREE * KC_N_FREE], R[KC_N_FREE * (KC_N_FREE + 1) / 2], g[KC_N_FREE], one[KC_N_FREE * KC_N_FREE];
    double lo[KC_N_FREE + KC_N_U], hi[KC_N_FREE + KC_N_U];
    int active[KC_N_FREE], side[KC_N_FREE + KC_N_U], saved[2 * KC_N_FREE], i, step;
    int n_felt = kc_n_felt[0], n_unfelt = KC_N_FREE - n_felt, mixed = n_felt > 0 && n_unfelt > 0;
    kc_qp qp = {KC_N_FREE, KC_N_U, 0, 0, 0, 0, 0, KC_N_U, 0};
    kc_qp_work w;
    w.Jt = Jt;
    w.R = R;
    w.x = x;
    w.lam = lam;
    w.d = d;
    w.r = r;
    w.work = work;
    w.value = value;
    w.active = active;
    w.side = side;
    w.k = -1;
    w.changes = 0;
    for (i = 0; i < KC_N_FREE * KC_N_FREE; i++) one[i] = i % (KC_N_FREE + 1) == 0 ? 1.0 : 0.0;
    qp.H = qp.Linv = one;
    qp.A = kc_reach_rows;
    for (i = 0; i < KC_N_FREE; i++) {
        lo[i] = -INFINITY;
        hi[i] = INFINITY;
        found[i] = 0.0;
    }
    for (i = 0; i < KC_N_U; i++) {
        lo[KC_N_FREE + i] = low[i] * kc_reach_scale[i];
        hi[KC_N_FREE + i] = high[i] * kc_reach_scale[i];
    }
    for (step = 0; step < KC_REACH_STEPS; step++) {
        double change = 0.0, size = 0.0;
        for (i = 0; i < KC_N_FREE; i++) g[i] = i < n_felt ? 0.0 : -found[i];
        if (kc_qp_solve(&qp, &w, g, lo, hi, 100 + 40 * KC_N_U, saved) != KC_QP_SOLVED) return 0;
        for (i = 0; i < KC_N_FREE; i++) {
            change = fmax(change, fabs(x[i] - found[i]));
            size = fmax(size, fabs(x[i]));
            found[i] = x[i];
        }
        if (!mixed || change <= KC_REACH_SETTLED * size) break;
    }
    for (i = n_felt; i < KC_N_FREE; i++) found[i] /= kc_reach_unit[0];
    if (!mixed) return 1;
    for (i = 0; i < n_unfelt * n_unfelt; i++) one[i] = i % (n_unfelt + 1) == 0 ? 1.0 : 0.0;
    qp.n = n_unfelt;
    qp.A = kc_near_rows;
    for (i = 0; i < n_unfelt; i++) {
        lo[i] = -INFINITY;
        hi[i] = INFINITY;
        g[i] = 0.0;
    }
    for (i = 0; i < KC_N_U; i++) {
        double moved = kc_dot(n_felt, kc_free_u + i * KC_N_FREE, found);
        lo[n_unfelt + i] = (low[i] - moved) * kc_near_scale[i];
        hi[n_unfelt + i] = (high[i] - moved) * kc_near_scale[i];
    }
    w.k = -1;
    w.changes = 0;
    if (kc_qp_solve(&qp, &w, g, lo, hi, 100 + 40 * KC_N_U, saved) == KC_QP_SOLVED)
        for (i = n_felt; i < KC_N_FREE; i++) found[i] = x[i - n_felt];
    (void)s;
    return 1;
}
#endif

/* The set-point moved to the nearest that can be held, if its own steady input cannot. Tells whether r has moved, and the
 * input to wish for then; `wished` is the one asked for, or a null pointer. */
static int kc_nearest(const NAME_state *s, double *r, const double *wished, double *wish) {
    double u_s[KC_N_U], low[KC_N_U], high[KC_N_U];
    int i, outside = 0;
    kc_steady_input(s, r, wished, u_s);
    for (i = 0; i < KC_N_U; i++) {
        if (!isfinite(u_s[i])) return 0;
        low[i] = kc_u_min[i] - u_s[i];
        high[i] = kc_u_max[i] - u_s[i];
        outside |= low[i] > 0.0 || high[i] < 0.0;
    }
    if (!outside) return 0;
#if KC_N_FREE > 0
    {
        const double *disturbance = s->p + KC_N_P - KC_N_D;
        double found[KC_N_FREE], gap[KC_N_Y];
        if (!kc_within(s, low, high, found)) return 0;
        for (i = 0; i < KC_N_Y; i++) {
            double y_s = kc_y_offset[i] + kc_dot(KC_N_Y, kc_y_gain + i * KC_N_Y, r) +
                         kc_dot(KC_N_D, kc_y_disturbance + i * KC_N_D, disturbance);
#if KC_N_TOLD > 0
            y_s += kc_dot(KC_N_TOLD, kc_y_told + i * KC_N_TOLD, s->w + KC_N_W - KC_N_TOLD);
#endif
            if (wished != 0) y_s += kc_dot(KC_N_U, kc_y_input + i * KC_N_U, wished);
            y_s += kc_dot(KC_N_FREE, kc_free_y + i * KC_N_FREE, found);
            gap[i] = r[i] - y_s;
        }
        for (i = 0; i < KC_N_Y; i++) /* states that need no input take over what they can of the gap */
            r[i] = r[i] - gap[i] + kc_dot(KC_N_Y, kc_reach_idle + i * KC_N_Y, gap);
        for (i = 0; i < KC_N_U; i++) {
            double change = kc_dot(KC_N_FREE, kc_free_u + i * KC_N_FREE, found);
            wish[i] = u_s[i] + kc_clip(change, low[i], high[i]) - kc_u_op[i];
        }
        return 1;
    }
#else
    (void)wish;
    return 0;
#endif
}
#endif
