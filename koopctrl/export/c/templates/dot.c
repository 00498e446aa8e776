/* Tolerances of rounding: in double, and in single precision. */
#ifndef KC_SINGLE
#define KC_SINGLE 0
#endif
#if KC_SINGLE
#define KC_TIGHT(in_double, in_single) (in_single)
#else
#define KC_TIGHT(in_double, in_single) (in_double)
#endif

static double kc_dot(int n, const double *a, const double *b) {
    /* Four sums, since a compiler may not reorder one: it would wait for each addition. */
    double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
    int i;
    for (i = 0; i + 3 < n; i += 4) {
        s0 += a[i] * b[i];
        s1 += a[i + 1] * b[i + 1];
        s2 += a[i + 2] * b[i + 2];
        s3 += a[i + 3] * b[i + 3];
    }
    for (; i < n; i++) s0 += a[i] * b[i];
    return (s0 + s1) + (s2 + s3);
}
