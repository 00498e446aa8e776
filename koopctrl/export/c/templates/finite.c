static int kc_all_finite(int n, const double *x) {
    int i;
    for (i = 0; i < n; i++)
        if (!isfinite(x[i])) return 0;
    return 1;
}
