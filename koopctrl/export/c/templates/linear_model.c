/* A lifted linear model by itself. */

void NAME_lift(const double *x, double *z) {
    double p[KC_N_RAW];
    kc_features(x, p);
    kc_deviate(KC_N_Z, KC_N_RAW, kc_basis, p, z);
}

void NAME_step(const double *z, const double *u, double *z_next) {
    int i, j;
    for (i = 0; i < KC_N_Z; i++) {
        z_next[i] = kc_c[i] + kc_dot(KC_N_Z, kc_A + i * KC_N_Z, z);
        for (j = 0; j < KC_N_IN; j++) z_next[i] += kc_B[i * KC_N_IN + j] * (u[j] - kc_in_op[j]);
#if KC_BILINEAR
        for (j = 0; j < KC_N_IN; j++)
            z_next[i] += (u[j] - kc_in_op[j]) * kc_dot(KC_N_Z, kc_products + (j * KC_N_Z + i) * KC_N_Z, z);
#endif
    }
}

void NAME_output(const double *z, const double *u, double *y) {
    int i, j;
    for (i = 0; i < KC_N_Y; i++) {
        y[i] = kc_y_op[i] + kc_dot(KC_N_Z, kc_C + i * KC_N_Z, z);
        for (j = 0; j < KC_N_IN; j++) y[i] += kc_D[i * KC_N_IN + j] * (u[j] - kc_in_op[j]);
    }
}
