/* Example: NAME as a filter. Every line on stdin is a measurement, a reference, and measured disturbances if there are
 * any (GUARD_N_MEASURED, GUARD_N_OUTPUTS and GUARD_N_DISTURBANCES numbers; `nan` marks a missing measurement); every
 * line on stdout is the input and the status. */

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
#if GUARD_N_DISTURBANCES > 0
    double told[GUARD_N_DISTURBANCES];
#endif
    NAME_reset(&state);
    while (read_numbers(GUARD_N_MEASURED, measurement) && read_numbers(GUARD_N_OUTPUTS, reference)) {
#if GUARD_N_DISTURBANCES > 0
        int status;
        if (!read_numbers(GUARD_N_DISTURBANCES, told)) break;
        status = NAME_control_told(&state, measurement, reference, 1, 0, told, 1, u, &info);
#else
        int status = NAME_control(&state, measurement, reference, u, &info);
#endif
        for (i = 0; i < GUARD_N_INPUTS; i++) printf("%.17g ", u[i]);
        printf("%d\n", status);
    }
    return 0;
}
