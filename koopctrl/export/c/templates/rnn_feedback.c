/* Plans followed with feedback, where plans in the inputs alone lose their digits or the last one's course has been
 * left: see koopctrl.controllers.mpc.rnn_feedback and rnn_course. */

/* Share by which the cost of a shifted plan must pass the last one's, and times by which its error must grow along the
 * horizon, to be led back; and the error, in deviations of the training data, that is none. */
#define KC_JUMP 1.2
#define KC_GROWN 2.0
#define KC_NO_ERROR KC_TIGHT(1e-6, 1e-5)

#if KC_FEEDBACK
/* A (n_x x n_x) and B (n_x x n_u) of step k along the candidate's roll-out, shift included. */
static void kc_step_jacobian(NAME_state *s, int k) {
    double *a = s->along_a + k * KC_N_X * KC_N_X, *b = s->along_b + k * KC_N_X * KC_N_U;
    double all[KC_N_IN], y_u[KC_N_Y * KC_N_IN];
    int i, j, end = KC_OUTPUT_LAGS * KC_N_Y;
    kc_join_acting(s, s->candidate + k * KC_N_U, KC_DELAY + k, all);
    for (i = 0; i < KC_N_X * KC_N_X; i++) a[i] = 0.0;
    for (i = 0; i < KC_N_X * KC_N_U; i++) b[i] = 0.0;
    kc_jacobian(all, s->psi + k * KC_N_FEATURES, s->t + k * KC_N_QY, a, y_u);
    for (i = 0; i < KC_N_X; i++) {
        if (i < KC_N_Y) {
            for (j = 0; j < KC_N_U; j++) b[i * KC_N_U + j] = y_u[i * KC_N_IN + kc_moved[j]];
        } else if (i < end) {
            a[i * KC_N_X + i - KC_N_Y] = 1.0;
        } else if (i < end + KC_N_IN) {
            for (j = 0; j < KC_N_U; j++) b[i * KC_N_U + j] = kc_moved[j] == i - end ? 1.0 : 0.0;
        } else {
            a[i * KC_N_X + i - KC_N_IN] = 1.0;
        }
    }
}
#endif

/* Adds the weight on the state k, in step k - 1 of the stages. */
static void kc_add_weight(const NAME_state *s, int k, double *W) {
    int i, j;
    for (i = 0; i < KC_N_Y; i++)
        for (j = 0; j < KC_N_Y; j++)
            W[i * KC_N_X + j] += KC_Q_AT(k - 1)[i * KC_N_Y + j] * s->marks[k * KC_N_Y + i] * s->marks[k * KC_N_Y + j];
}

/* Gains at the first step of each block, from the dynamic programme along s->along_a, s->along_b (all steps alike where
 * `still`). Backward over the cost to go of (x, u), u the input held. */
static void kc_gains(NAME_state *s, int still) {
    double cross[KC_N_U * KC_N_X], on_u[KC_N_U * KC_N_U], L[KC_N_U * KC_N_U], Linv[KC_N_U * KC_N_U];
    double unit[KC_N_U], half[KC_N_U], *on_x = s->riccati_M, *to_a = s->riccati_G, *to_b = s->riccati_W;
    int i, j, k, l, n = KC_N_X, m = KC_N_U, block = KC_N_V / KC_N_U - 1;
    for (i = 0; i < n * n; i++) on_x[i] = s->use_P ? s->P[i] : 0.0;
    if (!s->use_P) kc_add_weight(s, KC_HORIZON, on_x);
    for (i = 0; i < m * n; i++) cross[i] = 0.0;
    for (i = 0; i < m * m; i++) on_u[i] = 0.0;
    for (k = KC_HORIZON - 1; k >= 0; k--) {
        const double *A = s->along_a + (still ? 0 : k) * n * n, *B = s->along_b + (still ? 0 : k) * n * m;
        double new_cross[KC_N_U * KC_N_X], cross_b[KC_N_U * KC_N_U];
        for (i = 0; i < n; i++)
            for (j = 0; j < n; j++) {
                to_a[i * n + j] = 0.0;
                for (l = 0; l < n; l++) to_a[i * n + j] += on_x[i * n + l] * A[l * n + j];
            }
        for (i = 0; i < n; i++)
            for (j = 0; j < m; j++) {
                to_b[i * m + j] = 0.0;
                for (l = 0; l < n; l++) to_b[i * m + j] += on_x[i * n + l] * B[l * m + j];
            }
        for (i = 0; i < m; i++)
            for (j = 0; j < m; j++) {
                cross_b[i * m + j] = 0.0;
                for (l = 0; l < n; l++) cross_b[i * m + j] += cross[i * n + l] * B[l * m + j];
            }
        for (i = 0; i < m; i++)
            for (j = 0; j < m; j++) {
                on_u[i * m + j] += KC_R_AT(k)[i * m + j] + cross_b[i * m + j] + cross_b[j * m + i];
#if KC_RATE_COST
                on_u[i * m + j] += KC_S_AT(k)[i * m + j];
#endif
                for (l = 0; l < n; l++) on_u[i * m + j] += B[l * m + i] * to_b[l * m + j];
            }
        for (i = 0; i < m; i++)
            for (j = 0; j < n; j++) {
                double sum = 0.0;
                for (l = 0; l < n; l++) sum += B[l * m + i] * to_a[l * n + j] + cross[i * n + l] * A[l * n + j];
                new_cross[i * n + j] = sum;
            }
        for (i = 0; i < m * n; i++) cross[i] = new_cross[i];
        for (i = 0; i < n; i++)
            for (j = 0; j < n; j++) {
                double sum = 0.0;
                for (l = 0; l < n; l++) sum += A[l * n + i] * to_a[l * n + j];
                on_x[i * n + j] = sum;
            }
        if (block >= 0 && k == kc_block_start[block]) {
            double *K = s->gains + block * m * n;
            for (i = 0; i < m; i++) unit[i] = on_u[i * m + i] > 0.0 ? 1.0 / sqrt(on_u[i * m + i]) : 0.0;
            for (i = 0; i < m; i++)
                for (j = 0; j < m; j++) on_u[i * m + j] *= unit[i] * unit[j];
            for (i = 0; i < m * n; i++) K[i] = 0.0; /* what inputs do not move at all is left alone */
            if (kc_factor(m, on_u, L, Linv))
                for (j = 0; j < n; j++) {
                    for (i = 0; i < m; i++) {
                        half[i] = 0.0;
                        for (l = 0; l <= i; l++) half[i] += Linv[i * m + l] * unit[l] * cross[l * n + j];
                    }
                    for (i = 0; i < m; i++) {
                        for (l = i; l < m; l++) K[i * n + j] += Linv[l * m + i] * half[l];
                        K[i * n + j] *= unit[i];
                    }
                }
            for (i = 0; i < n; i++)
                for (j = 0; j < n; j++)
                    for (l = 0; l < m; l++) on_x[i * n + j] -= cross[l * n + i] * K[l * n + j];
            for (i = 0; i < m * n; i++) cross[i] = 0.0;
            for (i = 0; i < m * m; i++) on_u[i] = 0.0;
            block--;
        }
        if (k > 0) kc_add_weight(s, k, on_x);
        for (i = 0; i < n; i++)
            for (j = 0; j < i; j++) on_x[i * n + j] = on_x[j * n + i] = 0.5 * (on_x[i * n + j] + on_x[j * n + i]);
    }
}

/* The plan s->trial followed along the states s->ahead with feedback, inside its bounds: the inputs that are sent take its
 * place, and what comes of them goes to s->trial_states. */
static void kc_follow_plan(NAME_state *s) {
    double all[KC_N_IN], last[KC_N_U], u[KC_N_U];
    int i, k, block = -1;
    for (i = 0; i < KC_N_U; i++) u[i] = kc_effective_last(s, i);
    for (i = 0; i < KC_N_X; i++) s->trial_states[i] = s->begin[i];
    for (k = 0; k < KC_HORIZON; k++) {
        double *x = s->trial_states + k * KC_N_X, off[KC_N_X];
        if (kc_block[k] != block) {
            block = kc_block[k];
            for (i = 0; i < KC_N_X; i++) off[i] = x[i] - s->ahead[k * KC_N_X + i];
            for (i = 0; i < KC_N_U; i++) {
                last[i] = u[i];
                u[i] = s->trial[k * KC_N_U + i] - kc_dot(KC_N_X, s->gains + (block * KC_N_U + i) * KC_N_X, off);
                u[i] = kc_clip(u[i], last[i] + kc_du_min[i], last[i] + kc_du_max[i]);
                u[i] = kc_clip(u[i], kc_u_min[i], kc_u_max[i]);
            }
        }
        for (i = 0; i < KC_N_U; i++) s->trial[k * KC_N_U + i] = u[i];
        kc_join_acting(s, u, KC_DELAY + k, all);
        kc_step(x, all, s->d, s->trial_psi + k * KC_N_FEATURES, s->trial_t + k * KC_N_QY, x + KC_N_X);
    }
}

#if KC_FEEDBACK
/* Responses of inputs, s->input_map, and of states, s->gamma, to what is added to the feedback. */
static void kc_respond(NAME_state *s) {
    int i, j, k, l, n = KC_N_V, block = -1;
    for (k = 0; k < KC_HORIZON; k++) kc_step_jacobian(s, k);
    kc_gains(s, 0);
    for (k = 0; k < KC_HORIZON; k++) {
        const double *A = s->along_a + k * KC_N_X * KC_N_X, *B = s->along_b + k * KC_N_X * KC_N_U;
        double *M = s->input_map + k * KC_N_U * n, *now = s->gamma + k * KC_N_X * n;
        const double *before = now - KC_N_X * n;
        if (kc_block[k] != block) {
            block = kc_block[k];
            for (i = 0; i < KC_N_U; i++) {
                for (j = 0; j < n; j++) M[i * n + j] = j == block * KC_N_U + i ? 1.0 : 0.0;
                for (l = 0; k > 0 && l < KC_N_X; l++)
                    kc_axpy(n, -s->gains[(block * KC_N_U + i) * KC_N_X + l], before + l * n, M + i * n);
            }
        } else {
            for (i = 0; i < KC_N_U * n; i++) M[i] = M[i - KC_N_U * n];
        }
        for (i = 0; i < KC_N_X; i++) {
            for (j = 0; j < n; j++) now[i * n + j] = 0.0;
            for (l = 0; k > 0 && l < KC_N_X; l++) kc_axpy(n, A[i * KC_N_X + l], before + l * n, now + i * n);
            for (l = 0; l < KC_N_U; l++) kc_axpy(n, B[i * KC_N_U + l], M + l * n, now + i * n);
        }
    }
}

/* The better of the candidate and of feedback towards the target, which no horizon makes diverge; returns its merit. */
static double kc_steer(NAME_state *s, double merit) {
    double value;
    int i, k;
    kc_whole_jacobian(s, s->end_x, s->steady + (KC_HORIZON - 1) * KC_N_U, KC_HELD, s->along_a,
                      s->along_b);
    kc_gains(s, 1);
    for (k = 0; k < KC_HORIZON * KC_N_U; k++) s->trial[k] = s->steady[k];
    for (k = 0; k <= KC_HORIZON; k++)
        for (i = 0; i < KC_N_X; i++) s->ahead[k * KC_N_X + i] = s->end_x[i];
    kc_follow_plan(s);
    value = kc_merit(s, s->trial, s->trial_states);
    if (!(value < merit)) return merit;
    kc_adopt(s);
    return value;
}
#else
/* Whether the roll-out of the shifted plan, the candidate, runs away from what was foreseen. */
static int kc_left_course(const NAME_state *s, double merit) {
    double first = 0.0;
    int i, grown = 0;
    if (!s->has_course || s->age != 1 || merit <= KC_JUMP * s->course_merit[0]) return 0;
    for (i = 0; i < KC_N_X; i++) first = fmax(first, fabs(s->states[i] - s->course[KC_N_X + i]) / kc_x_scale[i]);
    for (i = 0; i < KC_N_X; i++) {
        double off = s->states[(KC_HORIZON - 1) * KC_N_X + i] - s->course[KC_HORIZON * KC_N_X + i];
        grown = grown || !(fabs(off) / kc_x_scale[i] <= KC_GROWN * first);
    }
    return first > KC_NO_ERROR && grown;
}

/* The better of the candidate and of feedback along the states foreseen for it; returns its merit. */
static double kc_lead(NAME_state *s, double merit) {
    double value;
    int i, k;
    for (k = 0; k <= KC_HORIZON; k++)
        for (i = 0; i < KC_N_X; i++)
            s->ahead[k * KC_N_X + i] = s->course[(k < KC_HORIZON ? k + 1 : KC_HORIZON) * KC_N_X + i];
    for (k = 0; k < KC_HORIZON; k++)
        kc_whole_jacobian(s, s->ahead + k * KC_N_X, s->candidate + k * KC_N_U, KC_DELAY + k,
                          s->along_a + k * KC_N_X * KC_N_X, s->along_b + k * KC_N_X * KC_N_U);
    kc_gains(s, 0);
    for (k = 0; k < KC_HORIZON * KC_N_U; k++) s->trial[k] = s->candidate[k];
    kc_follow_plan(s);
    value = kc_merit(s, s->trial, s->trial_states);
    if (!(value < merit)) return merit;
    kc_adopt(s);
    return value;
}
#endif
