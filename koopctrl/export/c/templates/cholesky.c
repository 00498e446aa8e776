/* H = L L' and Linv = L^-1, both with zeros above the diagonal; tells whether H is positive definite. */
static int kc_factor(int n, const double *H, double *L, double *Linv) {
    int i, j, k;
    for (i = 0; i < n; i++) {
        for (j = 0; j <= i; j++) {
            double sum = H[i * n + j] - kc_dot(j, L + i * n, L + j * n);
            if (i == j) {
                if (!(sum > 0.0)) return 0;
                L[i * n + i] = sqrt(sum);
            } else {
                L[i * n + j] = sum / L[j * n + j];
            }
        }
        for (; j < n; j++) L[i * n + j] = 0.0;
    }
    for (i = 0; i < n; i++) {
        for (j = 0; j < n; j++) Linv[i * n + j] = 0.0;
        Linv[i * n + i] = 1.0;
        for (k = 0; k < i; k++) kc_axpy(k + 1, -L[i * n + k], Linv + k * n, Linv + i * n);
        for (j = 0; j <= i; j++) Linv[i * n + j] /= L[i * n + i];
    }
    return 1;
}
