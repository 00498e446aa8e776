/* What all predictive controllers share: bounds, references, the window at the start. */

#define KC_LEAVES_OUT (KC_UNTRACKED && !KC_SEARCHES) /* rows are then asked which outputs they leave out */

#define KC_N_HARD (KC_N_INPUTS + KC_N_RATE) /* rows that are never relaxed: inputs, where they are a feedback, and moves */
/* What is asked for at one sample, completed. */
typedef struct {
    const double *reference;
    int n_rows, preview;
    const double *input; /* a null pointer for none */
#if KC_LEAVES_OUT
    int left_out[KC_HORIZON + 1]; /* outputs of each row that are not tracked, as bits */
#endif
    int n_input_rows;    /* 0: inputs wished for in the steady state */
} kc_asked;

#define KC_NO_SLACK KC_TIGHT(1e-8, 1e-4) /* slack of a scaled row, relative to the answer's size, that is rounding */

/* Whether references are numbers, or NaN where outputs are not tracked. */
static int kc_all_given(int n, const double *x) {
    int i;
    for (i = 0; i < n; i++)
        if (KC_UNTRACKED ? isinf(x[i]) : !isfinite(x[i])) return 0;
    return 1;
}

static double kc_clip(double value, double low, double high) { return fmin(fmax(value, low), high); }

/* The last input, moved (if it must be) to where the bounds on inputs and on moves can both hold. */
static double kc_effective_last(const NAME_state *s, int i) {
    double last = s->line[KC_DELAY * KC_N_U + i];
    return kc_clip(last, kc_u_min[i] - kc_du_max[i], kc_u_max[i] - kc_du_min[i]);
}

/* Rounding of the sums may leave the bounds by an ulp: those on the input go last. */
static double kc_admissible(const NAME_state *s, int i, double u) {
    double last = kc_effective_last(s, i);
    double low = fmax(kc_u_min[i], last + kc_du_min[i]), high = fmin(kc_u_max[i], last + kc_du_max[i]);
    return kc_clip(kc_clip(u, low, high), kc_u_min[i], kc_u_max[i]);
}

/* An input leaves: the line, oldest first, is the input that acts until the next sample and those on their way. */
static void kc_send(NAME_state *s, const double *u) {
    int i;
    for (i = 0; i < KC_DELAY * KC_N_U; i++) s->line[i] = s->line[i + KC_N_U];
    for (i = 0; i < KC_N_U; i++) s->line[KC_DELAY * KC_N_U + i] = u[i];
    s->has_input = 1;
}

/* All inputs of the model, from those that are moved and the measured disturbances. */
static void kc_join(const double *u, const double *told, double *all) {
    int i;
    for (i = 0; i < KC_N_U; i++) all[kc_moved[i]] = u[i];
#if KC_N_TOLD > 0
    for (i = 0; i < KC_N_TOLD; i++) all[kc_told[i]] = told[i];
#else
    (void)told;
#endif
}

/* Row k, from when the new input begins to act, of a reference of n_rows rows, the last of which is held. */
static const double *kc_reference(const double *reference, int n_rows, int k) {
    k += KC_DELAY;
    return reference + (k < n_rows ? k : n_rows - 1) * KC_N_Y;
}

#if KC_USES_WINDOW
/* The window filled with one sample, the inputs at their operating point: a plant at rest. */
static void kc_fill_window(const double *y, double *x) {
    int i, j;
    for (i = 0; i < KC_OUTPUT_LAGS; i++)
        for (j = 0; j < KC_N_MEASURED; j++) x[i * KC_N_MEASURED + j] = y[j];
    for (i = 0; i < KC_INPUT_LAGS - 1; i++)
        for (j = 0; j < KC_N_IN; j++) x[KC_OUTPUT_LAGS * KC_N_MEASURED + i * KC_N_IN + j] = kc_in_op[j];
}
#endif
