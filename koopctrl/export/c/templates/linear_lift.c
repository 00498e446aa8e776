/* Features p of a state, and what is affine in them. */

#if KC_LIFTS
/* y = matrix (p - p_op). The features' deviations are small where the features are not: taking them first keeps the
 * digits that a constant -matrix p_op would cancel. */
static void kc_deviate(int rows, int columns, const double *matrix, const double *p, double *y) {
    int i, j;
    for (i = 0; i < rows; i++) {
        y[i] = 0.0;
        for (j = 0; j < columns; j++) y[i] += matrix[i * columns + j] * (p[j] - kc_p_op[j]);
    }
}
#endif

#if !KC_OBSERVER || KC_OBSERVER_LIFTS
/* p = [x - x_op; psi(x)], biases being those for the deviation. */
static void kc_features(const double *x, double *p) {
    int i;
    for (i = 0; i < KC_N_X; i++) p[i] = x[i] - kc_x_op[i];
#if KC_N_FEATURES > 0
    for (i = 0; i < KC_N_FEATURES; i++) {
        double pre = kc_dot(KC_N_X, kc_weights + i * KC_N_X, p) + kc_biases[i];
        p[KC_N_X + i] = KC_TANH ? tanh(pre) : fmax(pre, 0.0);
    }
#endif
}
#endif
