/* A supervised network: targets of one row of features; see koopctrl.sampled. Layers stand one after another; what the
 * last one makes is added up as it comes, so that its width takes no memory. */

#define KC_N_BUFFER (KC_N_WIDEST > KC_N_X ? KC_N_WIDEST : KC_N_X)

static double kc_activation(double z) {
#if KC_ACTIVATION == 0
    return tanh(z);
#elif KC_ACTIVATION == 1
    return z > 0.0 ? z : 0.0;
#else
    return (z > 0.0 ? z : 0.0) + log1p(exp(-fabs(z)));
#endif
}

/* Targets in units of their spread. */
static void kc_targets(const double *x, double *y) {
    double points[KC_N_BUFFER];
    int i, j;
    for (i = 0; i < KC_N_X; i++) points[i] = (x[i] - kc_x_mean[i]) / kc_x_scale[i];
    for (i = 0; i < KC_N_TARGETS; i++) y[i] = kc_constant[i] + kc_dot(KC_N_X, kc_linear + i * KC_N_X, points);
#if KC_N_LAYERS > 0
    {
        const double *weights = kc_weights, *biases = kc_biases;
        int n = KC_N_X;
#if KC_N_LAYERS > 1
        double above[KC_N_BUFFER];
        int k;
        for (k = 0; k + 1 < KC_N_LAYERS; k++) {
            for (j = 0; j < kc_widths[k]; j++) above[j] = kc_activation(biases[j] + kc_dot(n, weights + j * n, points));
            weights += kc_widths[k] * n;
            biases += kc_widths[k];
            n = kc_widths[k];
            for (j = 0; j < n; j++) points[j] = above[j];
        }
#endif
        for (j = 0; j < kc_widths[KC_N_LAYERS - 1]; j++) {
            double psi = kc_activation(biases[j] + kc_dot(n, weights + j * n, points));
            for (i = 0; i < KC_N_TARGETS; i++) y[i] += kc_outer[j * KC_N_TARGETS + i] * psi;
        }
    }
#else
    (void)j;
    (void)kc_activation;
#endif
}

#if KC_CLASSIFIES
int NAME_classify(const double *x, double *probabilities) {
    double sum = 0.0;
    int i, best = 0;
    kc_targets(x, probabilities);
    for (i = 0; i < KC_N_TARGETS; i++) {
        probabilities[i] = probabilities[i] * kc_y_scale[i] + kc_y_mean[i];
        if (probabilities[i] > probabilities[best]) best = i;
    }
    for (i = 0; i < KC_N_TARGETS; i++)
        if (i != best) probabilities[i] = exp(kc_gain[0] * (probabilities[i] - probabilities[best]));
    probabilities[best] = 1.0;
    for (i = 0; i < KC_N_TARGETS; i++) sum += probabilities[i];
    for (i = 0; i < KC_N_TARGETS; i++) probabilities[i] /= sum;
    return best;
}
#else
void NAME_predict(const double *x, double *y) {
    int i;
    kc_targets(x, y);
    for (i = 0; i < KC_N_TARGETS; i++) y[i] = y[i] * kc_y_scale[i] + kc_y_mean[i];
}
#endif
