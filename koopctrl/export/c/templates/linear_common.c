/* What predictive controllers on lifted models share: the LQR to fall back to, and the reset. */

#if KC_HAS_LQR
/* The LQR's input where it begins to act, for the policy without a solution. */
static void kc_lqr(const NAME_state *s, const double *r, double *u) {
    int i;
    for (i = 0; i < KC_N_U; i++) {
        u[i] = kc_lqr_constant[i] + kc_dot(KC_N_Y, kc_lqr_r + i * KC_N_Y, r) - kc_dot(KC_N_P, kc_lqr_p + i * KC_N_P, s->p);
#if KC_N_W > 0
        u[i] += kc_dot(KC_N_W, kc_lqr_w + i * KC_N_W, s->w);
#endif
    }
}
#endif

#if KC_N_SOFT == 0
static const double kc_slack_unit[1], kc_slack_gradient[1], kc_slack_size[1]; /* unused */
#endif

/* Begin the estimates anew. */
static void kc_forget(NAME_state *s) {
    s->has_z = s->has_d = 0;
    if (KC_OBSERVER) s->started = 0;
}

#if KC_N_TUNINGS > 1
/* Nothing else depends on weights and bounds. */
static void kc_retuned(NAME_state *s) { s->set = s->tuning * KC_N_MASKS; }
#endif
