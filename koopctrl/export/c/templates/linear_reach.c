/* Set-points whose steady input would leave its bounds: see koopctrl.controllers.steady_state.reachable, step by step. */

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
/* Steady inputs are u_s + felt b + unfelt c, of which the outputs feel b alone. */
#define KC_N_FREE (KC_N_FELT + KC_N_UNFELT)

#if KC_N_FREE > 0
static const kc_qp kc_reach = {KC_N_FREE, KC_N_U, 0, kc_reach_one, kc_reach_rows, kc_reach_one, 0, KC_N_U, 0};
#if KC_N_FELT > 0 && KC_N_UNFELT > 0
static const kc_qp kc_near = {KC_N_UNFELT, KC_N_U, 0, kc_near_one, kc_near_rows, kc_near_one, 0, KC_N_U, 0};
#endif

/* The least |b| and then the least |c| on which low <= u - u_s <= high; tells whether there is one. */
static int kc_within(const double *low, const double *high, double *b, double *c) {
    double x[KC_N_FREE], lam[KC_N_FREE], d[KC_N_FREE], r[KC_N_FREE], work[KC_N_FREE], value[KC_N_FREE + KC_N_U];
    double Jt[KC_N_FREE * KC_N_FREE], R[KC_N_FREE * (KC_N_FREE + 1) / 2], g[KC_N_FREE], best[KC_N_FREE];
    double lo[KC_N_FREE + KC_N_U], hi[KC_N_FREE + KC_N_U];
    int active[KC_N_FREE], side[KC_N_FREE + KC_N_U], saved[2 * KC_N_FREE], i, step;
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
    for (i = 0; i < KC_N_FREE; i++) {
        lo[i] = -INFINITY;
        hi[i] = INFINITY;
        best[i] = 0.0;
    }
    for (i = 0; i < KC_N_U; i++) {
        lo[KC_N_FREE + i] = low[i] * kc_reach_scale[i];
        hi[KC_N_FREE + i] = high[i] * kc_reach_scale[i];
    }
    for (step = 0; step < KC_REACH_STEPS; step++) {
        for (i = 0; i < KC_N_FREE; i++) g[i] = i < KC_N_FELT ? 0.0 : -best[i];
        if (kc_qp_solve(&kc_reach, &w, g, lo, hi, 100 + 40 * KC_N_U, saved) != KC_QP_SOLVED) return 0;
        double change = 0.0, size = 0.0;
        for (i = 0; i < KC_N_FREE; i++) {
            change = fmax(change, fabs(x[i] - best[i]));
            size = fmax(size, fabs(x[i]));
            best[i] = x[i];
        }
        if (KC_N_UNFELT == 0 || KC_N_FELT == 0 || change <= 1e-12 * size) break;
    }
    for (i = 0; i < KC_N_FELT; i++) b[i] = best[i];
    for (i = 0; i < KC_N_UNFELT; i++) c[i] = best[KC_N_FELT + i] / kc_reach_unit[0];
#if KC_N_FELT > 0 && KC_N_UNFELT > 0
    for (i = 0; i < KC_N_UNFELT; i++) {
        lo[i] = -INFINITY;
        hi[i] = INFINITY;
        g[i] = 0.0;
    }
    for (i = 0; i < KC_N_U; i++) {
        double moved = kc_dot(KC_N_FELT, kc_felt_u + i * KC_N_FELT, b);
        lo[KC_N_UNFELT + i] = (low[i] - moved) * kc_near_scale[i];
        hi[KC_N_UNFELT + i] = (high[i] - moved) * kc_near_scale[i];
    }
    w.k = -1;
    w.changes = 0;
    if (kc_qp_solve(&kc_near, &w, g, lo, hi, 100 + 40 * KC_N_U, saved) == KC_QP_SOLVED)
        for (i = 0; i < KC_N_UNFELT; i++) c[i] = x[i];
#endif
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
        double b[KC_N_FELT + 1] = {0.0}, c[KC_N_UNFELT + 1] = {0.0}, gap[KC_N_Y];
        if (!kc_within(low, high, b, c)) return 0;
        for (i = 0; i < KC_N_Y; i++) {
            double y_s = kc_y_offset[i] + kc_dot(KC_N_Y, kc_y_gain + i * KC_N_Y, r) +
                         kc_dot(KC_N_D, kc_y_disturbance + i * KC_N_D, disturbance);
#if KC_N_TOLD > 0
            y_s += kc_dot(KC_N_TOLD, kc_y_told + i * KC_N_TOLD, s->w + KC_N_W - KC_N_TOLD);
#endif
            if (wished != 0) y_s += kc_dot(KC_N_U, kc_y_input + i * KC_N_U, wished);
            y_s += kc_dot(KC_N_FELT, kc_felt_y + i * KC_N_FELT, b) + kc_dot(KC_N_UNFELT, kc_unfelt_y + i * KC_N_UNFELT, c);
            gap[i] = r[i] - y_s;
        }
        for (i = 0; i < KC_N_Y; i++) /* states that need no input take over what they can of the gap */
            r[i] = r[i] - gap[i] + kc_dot(KC_N_Y, kc_reach_idle + i * KC_N_Y, gap);
        for (i = 0; i < KC_N_U; i++) {
            double change = kc_dot(KC_N_FELT, kc_felt_u + i * KC_N_FELT, b) +
                            kc_dot(KC_N_UNFELT, kc_unfelt_u + i * KC_N_UNFELT, c);
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
