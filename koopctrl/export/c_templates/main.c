/* Example: NAME as a filter. Every line on stdin is a measurement, then a reference (GUARD_N_MEASURED and
 * GUARD_N_OUTPUTS numbers; `nan` marks a missing measurement); every line on stdout is the input and the status. */

#include <stdio.h>
#include "NAME.h"

static int read_numbers(int n, double *values) {
    int i;
    for (i = 0; i < n; i++)
        if (scanf("%lf", values + i) != 1) return 0;
    return 1;
}

int main(void) {
    static NAME_state state;
    NAME_info info;
    double measurement[GUARD_N_MEASURED], reference[GUARD_N_OUTPUTS], u[GUARD_N_INPUTS];
    int i;
    NAME_reset(&state);
    while (read_numbers(GUARD_N_MEASURED, measurement) && read_numbers(GUARD_N_OUTPUTS, reference)) {
        int status = NAME_control(&state, measurement, reference, u, &info);
        for (i = 0; i < GUARD_N_INPUTS; i++) printf("%.17g ", u[i]);
        printf("%d\n", status);
    }
    return 0;
}
