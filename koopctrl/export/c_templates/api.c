/* The interface that all predictive controllers share. */

int NAME_control(NAME_state *s, const double *measurement, const double *reference, double *u_out, NAME_info *info) {
    return kc_control(s, measurement, reference == 0 ? kc_default_reference : reference, 1, 0, u_out, info);
}

int NAME_control_preview(NAME_state *s, const double *measurement, const double *references, int n_rows,
                         double *u_out, NAME_info *info) {
    if (references == 0 || n_rows < 1) return NAME_control(s, measurement, 0, u_out, info);
    if (n_rows > KC_HORIZON + 1) n_rows = KC_HORIZON + 1;
    return kc_control(s, measurement, references, n_rows, 1, u_out, info);
}

void NAME_applied(NAME_state *s, const double *u) {
    int i;
    if (!kc_all_finite(KC_N_U, u)) return;
    for (i = 0; i < KC_N_U; i++) s->u_last[i] = u[i];
    s->has_input = 1;
}

const double *NAME_plan(const NAME_state *s) { return s->age > 0 ? s->plan : 0; }
