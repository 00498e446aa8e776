/* An estimator by itself. */

void NAME_reset(NAME_state *s) {
    static const NAME_state nothing;
    *s = nothing;
}

int NAME_observe(NAME_state *s, const double *measurement, const double *u_last, double *estimate) {
    int i;
    s->has_input = u_last != 0;
    for (i = 0; i < KC_N_IN && s->has_input; i++) s->acted[i] = u_last[i];
    if (!kc_read(s, measurement)) return 0;
    for (i = 0; i < KC_N_P; i++) estimate[i] = s->p[i];
    return 1;
}

int NAME_rejected(const NAME_state *s, int *n_rejected) {
    *n_rejected = s->n_rejected;
    return s->rejected;
}
