/* Logarithm and power to base 2 as Go computes them: log2 through the natural logarithm of the
 * fraction, exp2 through e^r, both with the polynomials of FreeBSD's msun (Sun Microsystems). The C
 * library rounds better, and so differs in the last digit, which a quantile shows. Pure. */
#ifndef QUERY_HIST_GO_MATH_H
#define QUERY_HIST_GO_MATH_H

double go_log2(double x);
double go_exp2(double x);

#endif
