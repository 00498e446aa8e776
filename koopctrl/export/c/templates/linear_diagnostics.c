/* What is estimated, and predicted from it. */

#if KC_DIAGNOSTICS
void NAME_lifted_state(const NAME_state *s, double *z) {
#if KC_OBSERVER
    int i;
    for (i = 0; i < KC_N_Z; i++) z[i] = s->p[i];
#else
    kc_deviate(KC_N_Z, KC_N_RAW, kc_basis, s->p, z);
#endif
}

void NAME_predict(const NAME_state *s, const double *inputs, double *outputs) {
    int i, j, k;
#if KC_OBSERVER
    for (i = 0; i < (KC_HORIZON + 1) * KC_N_Y; i++) outputs[i] = kc_dot(KC_N_P, kc_predict_p + i * KC_N_P, s->p);
#else
    kc_deviate((KC_HORIZON + 1) * KC_N_Y, KC_N_RAW, kc_predict_p, s->p, outputs);
#if KC_N_D > 0
    for (i = 0; i < (KC_HORIZON + 1) * KC_N_Y; i++)
        outputs[i] += kc_dot(KC_N_D, kc_predict_d + i * KC_N_D, s->p + KC_N_RAW);
#endif
#endif
    for (k = 0; k <= KC_HORIZON; k++)
        for (i = 0; i < KC_N_Y; i++) {
            double y = outputs[k * KC_N_Y + i] + kc_predict_constant[k * KC_N_Y + i];
#if KC_N_W > 0
            y += kc_dot(KC_N_W, kc_predict_w + (k * KC_N_Y + i) * KC_N_W, s->w);
#endif
            for (j = 0; j < k * KC_N_U; j++) /* input j / n_u acts k - j / n_u samples later */
                y += kc_markov[((k - 1 - j / KC_N_U) * KC_N_Y + i) * KC_N_U + j % KC_N_U] *
                     (inputs[j] - kc_u_op[j % KC_N_U]);
            outputs[k * KC_N_Y + i] = y;
        }
}
#endif
