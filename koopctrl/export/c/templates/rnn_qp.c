/* The QP in the plan's change, or in what is added to a feedback along it. */

#if KC_FEEDBACK
/* H += weight left right' */
static void kc_add_product(int n, double weight, const double *left, const double *right, double *H) {
    int l;
    for (l = 0; l < n; l++) kc_axpy(n, weight * left[l], right, H + l * n);
}
#endif

/* Hessian, gradient, rows and bounds of the QP in the plan's change, scaled as in the package. */
static void kc_condense(NAME_state *s) {
    int i, j, k, l, n = KC_N_V, n_stage = s->use_P ? KC_HORIZON - 1 : KC_HORIZON;
    double *H = s->H, *g = s->g, *gamma = s->gamma, *lo = s->lo, *hi = s->hi;
    double error[KC_N_X];
#if !KC_FEEDBACK
    double y_x[KC_N_Y * KC_N_X], y_u[KC_N_Y * KC_N_IN], all[KC_N_IN];
    int end = KC_OUTPUT_LAGS * KC_N_Y;
#endif
#if KC_FEEDBACK
    kc_respond(s);
    for (i = 0; i < n * n; i++) H[i] = 0.0;
    for (i = 0; i < n; i++) g[i] = 0.0;
    for (k = 0; k < KC_HORIZON; k++) {
        const double *u = s->candidate + k * KC_N_U, *now = gamma + k * KC_N_X * n, *M = s->input_map + k * KC_N_U * n;
        for (i = 0; i < KC_N_Y; i++)
            error[i] = s->states[(k + 1) * KC_N_X + i] - s->tracked[(k + 1) * KC_N_Y + i];
        for (i = 0; i < KC_N_Y && k < n_stage; i++)
            for (j = 0; j < KC_N_Y; j++) {
                double weight = KC_Q_AT(k)[i * KC_N_Y + j] * s->marks[(k + 1) * KC_N_Y + i] * s->marks[(k + 1) * KC_N_Y + j];
                if (weight == 0.0) continue;
                kc_add_product(n, weight, now + i * n, now + j * n, H);
                kc_axpy(n, weight * error[j], now + i * n, g);
            }
        for (i = 0; i < KC_N_U; i++)
            for (j = 0; j < KC_N_U; j++) {
                double weight = KC_R_AT(k)[i * KC_N_U + j];
                kc_add_product(n, weight, M + i * n, M + j * n, H);
                kc_axpy(n, weight * (u[j] - s->steady[k * KC_N_U + j]), M + i * n, g);
            }
#if KC_RATE_COST
        for (i = 0; i < KC_N_U * n; i++) s->move_map[i] = M[i] - (k > 0 ? M[i - KC_N_U * n] : 0.0);
        for (i = 0; i < KC_N_U; i++)
            for (j = 0; j < KC_N_U; j++) {
                double weight = KC_S_AT(k)[i * KC_N_U + j];
                kc_add_product(n, weight, s->move_map + i * n, s->move_map + j * n, H);
                kc_axpy(n, weight * (u[j] - (k ? u[j - KC_N_U] : kc_effective_last(s, j))), s->move_map + i * n, g);
            }
#endif
    }
#else
    for (i = 0; i < n * n; i++) H[i] = kc_input_hessian[i];
    for (i = 0; i < n; i++) g[i] = 0.0;
    for (k = 0; k < KC_HORIZON; k++) {
        int block = kc_block[k] * KC_N_U;
        const double *u = s->candidate + k * KC_N_U;
        double *now = gamma + k * KC_N_X * n; /* dx_{k+1} / dv */
        const double *before = k > 0 ? now - KC_N_X * n : now;
        kc_join_acting(s, u, KC_DELAY + k, all);
        kc_jacobian(all, s->psi + k * KC_N_FEATURES, s->t + k * KC_N_QY, y_x, y_u);
        for (i = 0; i < KC_N_X; i++) {
            double *row = now + i * n;
            for (j = 0; j < n; j++) row[j] = 0.0;
            if (i < KC_N_Y) {
                for (l = 0; k > 0 && l < KC_N_X; l++) kc_axpy(block + KC_N_U, y_x[i * KC_N_X + l], before + l * n, row);
                for (j = 0; j < KC_N_U; j++) row[block + j] += y_u[i * KC_N_IN + kc_moved[j]];
            } else if (i < end) {
                for (j = 0; k > 0 && j < n; j++) row[j] = before[(i - KC_N_Y) * n + j];
            } else if (i < end + KC_N_IN) {
                for (j = 0; j < KC_N_U; j++) row[block + j] = kc_moved[j] == i - end ? 1.0 : 0.0;
            } else {
                for (j = 0; k > 0 && j < n; j++) row[j] = before[(i - KC_N_IN) * n + j];
            }
        }
        if (k < n_stage) {
            for (i = 0; i < KC_N_Y; i++)
                error[i] = s->states[(k + 1) * KC_N_X + i] - s->tracked[(k + 1) * KC_N_Y + i];
            for (i = 0; i < KC_N_Y; i++)
                for (j = 0; j < KC_N_Y; j++) {
                    double weight = KC_Q_AT(k)[i * KC_N_Y + j] * s->marks[(k + 1) * KC_N_Y + i] * s->marks[(k + 1) * KC_N_Y + j];
                    const double *left = now + i * n, *right = now + j * n;
                    if (weight == 0.0) continue;
                    for (l = 0; l < block + KC_N_U; l++)
                        kc_axpy(block + KC_N_U, weight * left[l], right, H + l * n);
                    kc_axpy(block + KC_N_U, weight * error[j], left, g);
                }
        }
        for (i = 0; i < KC_N_U; i++)
            for (j = 0; j < KC_N_U; j++)
                g[block + i] += KC_R_AT(k)[i * KC_N_U + j] * (u[j] - s->steady[k * KC_N_U + j]);
#if KC_RATE_COST
        for (i = 0; i < KC_N_U; i++)
            for (j = 0; j < KC_N_U; j++) { /* S (u_k - u_{k-1}) at k, its negative at k - 1 */
                double move = KC_S_AT(k)[i * KC_N_U + j] * (u[j] - (k ? u[j - KC_N_U] : kc_effective_last(s, j)));
                g[block + i] += move;
                if (k > 0) g[kc_block[k - 1] * KC_N_U + i] -= move;
            }
#endif
    }
#endif
    if (s->use_P) {
        const double *last = gamma + (KC_HORIZON - 1) * KC_N_X * n;
        for (i = 0; i < KC_N_X; i++) error[i] = s->states[KC_HORIZON * KC_N_X + i] - s->end_x[i];
        for (i = 0; i < KC_N_X; i++)
            for (j = 0; j < KC_N_X; j++) {
                double weight = s->P[i * KC_N_X + j];
                for (l = 0; l < n; l++) kc_axpy(n, weight * last[i * n + l], last + j * n, H + l * n);
                kc_axpy(n, weight * error[j], last + i * n, g);
            }
    }
    for (i = 0; i < n; i++) s->scale[i] = 1.0 / sqrt(H[i * n + i]);
    for (i = 0; i < n; i++) {
        for (j = 0; j < n; j++) H[i * n + j] *= s->scale[i] * s->scale[j];
        g[i] *= s->scale[i];
    }
    /* Bounds of the change: what the plan uses already is taken off. */
    for (i = 0; i < n; i++) {
        double value = s->candidate[kc_block_start[i / KC_N_U] * KC_N_U + i % KC_N_U];
        lo[i] = KC_FEEDBACK ? -INFINITY : (kc_u_min[i % KC_N_U] - value) / s->scale[i];
        hi[i] = KC_FEEDBACK ? INFINITY : (kc_u_max[i % KC_N_U] - value) / s->scale[i];
    }
    for (k = 0; k < KC_N_ROWS; k++) {
        double *row = s->rows + k * n, used, low, high;
        if (k < KC_N_HARD) {
            int first = k < KC_N_INPUTS ? k : k - KC_N_INPUTS;
            i = first % KC_N_U;
            used = s->candidate[kc_block_start[first / KC_N_U] * KC_N_U + i];
            low = kc_u_min[i];
            high = kc_u_max[i];
            if (k >= KC_N_INPUTS) {
                used -= first < KC_N_U ? kc_effective_last(s, i) : s->candidate[kc_block_start[first / KC_N_U - 1] * KC_N_U + i];
                low = kc_du_min[i];
                high = kc_du_max[i];
            }
#if KC_FEEDBACK
            for (j = 0; j < n; j++) {
                row[j] = s->input_map[(kc_block_start[first / KC_N_U] * KC_N_U + i) * n + j];
                if (k >= KC_N_INPUTS && first >= KC_N_U)
                    row[j] -= s->input_map[(kc_block_start[first / KC_N_U - 1] * KC_N_U + i) * n + j];
                row[j] *= s->scale[j];
            }
#else
            for (j = 0; j < n; j++) row[j] = 0.0;
            row[first] = s->scale[first];
            if (first >= KC_N_U) row[first - KC_N_U] = -s->scale[first - KC_N_U];
#endif
        } else {
            const double *combination, *sensitive; /* bounded combinations of a state, and what inputs do to that */
            int step = KC_HORIZON - 1;
#if KC_N_E > 0
            if (k < KC_N_HARD + KC_N_E * KC_HORIZON) {
                step = (k - KC_N_HARD) / KC_N_E;
                i = (k - KC_N_HARD) % KC_N_E;
                combination = kc_E + i * KC_N_X;
                used = kc_dot(KC_N_X, combination, s->states + (step + 1) * KC_N_X) + s->shift[i];
                low = KC_E_MIN(step)[i];
                high = KC_E_MAX(step)[i];
            } else
#endif
            {
#if KC_N_END > 0
                i = k - KC_N_HARD - KC_N_E * KC_HORIZON;
                combination = kc_E_end + i * KC_N_X;
                used = kc_at_end(s, i, s->states);
                low = kc_end_min[i];
                high = kc_end_max[i];
#else
                continue;
#endif
            }
            sensitive = gamma + step * KC_N_X * n;
            for (j = 0; j < n; j++) row[j] = 0.0;
            for (l = 0; l < KC_N_X; l++) kc_axpy(n, combination[l], sensitive + l * n, row);
            for (j = 0; j < n; j++) row[j] *= s->scale[j];
        }
        s->row_scale[k] = sqrt(kc_dot(n, row, row));
        lo[n + k] = low - used;
        hi[n + k] = high - used;
    }
#if KC_N_E > 0
    for (i = 0; i < KC_N_E; i++) { /* as in controllers.qp.dense.scale_rows */
        double largest = 0.0, felt = fmax(kc_felt[0], KC_TIGHT(0.0, 1e-5));
        for (j = 0; j < KC_HORIZON; j++) largest = fmax(largest, s->row_scale[KC_N_HARD + j * KC_N_E + i]);
        for (j = 0; j < KC_HORIZON; j++) {
            k = KC_N_HARD + j * KC_N_E + i;
            if (s->row_scale[k] <= felt * largest) s->row_scale[k] = 0.0;
        }
    }
#endif
    for (k = 0; k < KC_N_ROWS; k++) {
        double *row = s->rows + k * n, norm = s->row_scale[k];
        s->row_scale[k] = norm > 0.0 ? 1.0 / norm : 1.0;
#if KC_N_E > 0 || KC_N_END > 0
        if (!(norm > 0.0) && k >= KC_N_HARD) s->row_scale[k] = sqrt(kc_penalty[KC_N_E + KC_N_END + kc_bound_of(k - KC_N_HARD)]);
#endif
        for (j = 0; j < n; j++) row[j] = norm > 0.0 ? row[j] * s->row_scale[k] : 0.0;
#if KC_N_SOFT > 0
        if (k >= KC_N_HARD) { /* as in controllers.qp_step */
            int bound = kc_bound_of(k - KC_N_HARD);
            double root = sqrt(kc_penalty[KC_N_E + KC_N_END + bound]);
            i = k - KC_N_HARD;
            s->slack_unit[i] = s->row_scale[k] / root;
            s->slack_size[i] = 1.0 / root;
            s->slack_gradient[i] = 0.5 * kc_penalty[bound] / root;
        }
#endif
        lo[n + k] *= s->row_scale[k];
        hi[n + k] *= s->row_scale[k];
    }
}
