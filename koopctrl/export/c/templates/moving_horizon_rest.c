#if KC_OBSERVER_LIFTS && KC_N_LAGGED > 0
/* What is bounded at past samples, of a plant that was at rest. */
static void kc_at_rest(NAME_state *s) {
    int i;
    for (i = 0; i < KC_N_LAGGED; i++)
        s->zeta[KC_N_S + i] = kc_dot(KC_N_S, kc_bounded + (i % KC_N_BOUNDED) * KC_N_S, s->zeta);
}
#endif

#if KC_N_LAGGED > 0 && KC_STEADY
/* One sample on: what is bounded now becomes that of the last sample. */
static void kc_push(NAME_state *s) {
    int i;
    for (i = KC_N_LAGGED - 1; i >= KC_N_BOUNDED; i--) s->zeta[KC_N_S + i] = s->zeta[KC_N_S + i - KC_N_BOUNDED];
    for (i = 0; i < KC_N_BOUNDED; i++)
        s->zeta[KC_N_S + i] = kc_dot(KC_N_S, kc_bounded + i * KC_N_S, s->zeta);
}
#endif
