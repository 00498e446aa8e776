/* References in which outputs are left out: which set of numbers is in force, and previews that leave out some at some of
 * their samples; see koopctrl.export.c.linear_sets. */

#if KC_UNTRACKED
/* Row k, from when the new input begins to act, leaves out these outputs, as bits. */
static int kc_left_out(const kc_asked *q, int k) {
    const double *r = kc_reference(q->reference, q->n_rows, k);
    int i, bits = 0;
    for (i = 0; i < KC_N_Y; i++) bits |= isnan(r[i]) ? 1 << i : 0;
    return bits;
}

/* Where nothing is asked for stands what is in the end, else the operating point: it makes the steady inputs smooth. */
static void kc_complete(NAME_state *s, kc_asked *q) {
    const double *end = kc_reference(q->reference, q->n_rows, q->preview ? KC_HORIZON : 0);
    int i;
    for (i = 0; i < q->n_rows * KC_N_Y; i++) {
        int o = i % KC_N_Y;
        s->complete[i] = !isnan(q->reference[i]) ? q->reference[i] : !isnan(end[o]) ? end[o] : kc_default_reference[o];
    }
    q->reference = s->complete;
}
#endif

#if KC_N_MASKS * KC_N_TUNINGS > 1
/* The set of numbers for those outputs that are tracked in the end; factors of another one's Hessian are useless. */
static void kc_select(NAME_state *s, const kc_asked *q) {
    int wanted = 0;
#if KC_UNTRACKED
    wanted = kc_mask_slot[kc_left_out(q, q->preview ? KC_HORIZON : 0)];
#endif
#if KC_N_TUNINGS > 1
    wanted += s->tuning * KC_N_MASKS;
#endif
    if (wanted != s->set) s->hard_k = s->soft_k = -1;
    s->set = wanted;
    (void)q;
}
#endif

#if KC_MIXES
/* Entry of the weight on row k's outputs: what a preview leaves out has none, and the end's set has that of the end. */
static double kc_missing_weight(const NAME_state *s, int k, int i, int j, int here, int end) {
    int both = 1 << i | 1 << j;
    double weight = kc_stage_Q[(KC_VARIES * k * KC_N_Y + i) * KC_N_Y + j];
    (void)s;
    return ((here & both) == 0 ? weight : 0.0) - ((end & both) == 0 ? weight : 0.0);
}

/* Error of output i at step k without the QP's variables. */
static double kc_free_error(const NAME_state *s, const kc_asked *q, int k, int i) {
    int row = k * KC_N_Y + i;
    double y = kc_track_constant[row] + kc_dot(KC_N_P, kc_track_p + row * KC_N_P, s->p) + kc_y_op[i];
#if KC_N_W > 0
    y += kc_dot(KC_N_W, kc_track_w + row * KC_N_W, s->w);
#endif
    return y - kc_reference(q->reference, q->n_rows, k + 1)[i];
}

/* Weights put on and taken off where a preview's samples leave out other outputs than its end does: gradient and Hessian,
 * which are factored anew. Tells whether they have factors. */
static int kc_mix(NAME_state *s, const kc_asked *q, kc_qp *qp) {
    int i, j, k, l, n = KC_N_V, differs = 0, was = s->mixed, n_stage = KC_HORIZON;
#if KC_HAS_LQR
    if (kc_lqr_there[0]) n_stage--;
#endif
    for (k = 0; k < n_stage && q->preview; k++) {
        int here = q->left_out[k + 1], end = q->left_out[KC_HORIZON];
        double errors[KC_N_Y], left[KC_N_V];
        if (here == end) continue;
        if (!differs)
            for (i = 0; i < n * n; i++) s->mixed_H[i] = kc_H[i];
        differs = 1;
        for (i = 0; i < KC_N_Y; i++) errors[i] = kc_free_error(s, q, k, i);
        for (i = 0; i < KC_N_Y; i++)
            for (j = 0; j < KC_N_Y; j++) {
                double weight = kc_missing_weight(s, k, i, j, here, end);
                const double *at_i = kc_track_v + (k * KC_N_Y + i) * n, *at_j = kc_track_v + (k * KC_N_Y + j) * n;
                if (weight == 0.0) continue;
                for (l = 0; l < n; l++) left[l] = weight * at_i[l] * kc_scale[l];
                kc_axpy(n, errors[j], left, s->g);
                for (l = 0; l < n; l++) {
                    int m;
                    for (m = 0; m < n; m++) s->mixed_H[l * n + m] += left[l] * at_j[m] * kc_scale[m];
                }
            }
    }
    s->mixed = differs;
    if (differs || was) s->hard_k = s->soft_k = -1;
    if (!differs) return 1;
    qp->H = s->mixed_H;
    qp->Linv = s->mixed_Linv;
    return kc_factor(n, s->mixed_H, s->mixed_L, s->mixed_Linv) && kc_all_finite(n, s->g);
}
#endif
