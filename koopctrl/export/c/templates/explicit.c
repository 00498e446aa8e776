/* How far a scaled parameter is outside a region; looked at no further once it is beyond `limit`. */
static double kc_beyond(int region, const double *theta, double limit)
{
    double worst = -INFINITY;
    int i, j;
    for (i = kc_starts[region]; i < kc_starts[region + 1]; i++) {
        double value = -kc_heights[i];
        for (j = 0; j < KC_N_THETA; j++) value += kc_rows[i * KC_N_THETA + j] * theta[j];
        if (value > worst) worst = value;
        if (worst > limit) break;
    }
    return worst;
}

int NAME_lookup(const double *x, const double *reference, const double *u_last, double *u)
{
    double theta[KC_N_THETA], nearest = KC_NEAR;
    int i, j, k, found = -1;
    for (j = 0; j < KC_N_THETA; j++) {
        double value = j < KC_N_X ? x[j] : j < KC_N_X + KC_N_R ? reference[j - KC_N_X] : u_last[j - KC_N_X - KC_N_R];
        theta[j] = (value - kc_middle[j]) / kc_half[j];
        if (!isfinite(theta[j])) return -1;
    }
    for (i = 0; i < KC_N_REGIONS && nearest > 0.0; i++) {
        double beyond = kc_beyond(i, theta, nearest);
        if (beyond <= nearest) {
            nearest = beyond;
            found = i;
        }
    }
    if (found < 0) return -1;
    for (k = 0; k < KC_N_IN; k++) {
        double value = kc_offsets[found * KC_N_IN + k];
        const double *gain = kc_gains + (found * KC_N_IN + k) * KC_N_THETA;
        for (j = 0; j < KC_N_THETA; j++) value += gain[j] * theta[j];
        u[k] = value < kc_u_min[k] ? kc_u_min[k] : value > kc_u_max[k] ? kc_u_max[k] : value;
    }
    return found;
}
