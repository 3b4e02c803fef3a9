#include "query/hist/go_math.h"

#include <math.h>

#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW  1.90821492927058770002e-10

/* ln(x) for x in [0.5, 1): with f = x' - 1, x' in [sqrt(1/2), sqrt(2)), and s = f / (2 + f) it is
 * f - (f^2/2 - s (f^2/2 + R(s^2))). */
static double log_of_fraction(double x)
{
    double k = 0;
    if (x < M_SQRT1_2) {
        x *= 2;
        k = -1;
    }
    double f = x - 1;
    double s = f / (2 + f);
    double s2 = s * s;
    double s4 = s2 * s2;
    double odd = 1.818357216161805012e-01 + s4 * 1.479819860511658591e-01;
    odd = s2 * (6.666666666666735130e-01 + s4 * (2.857142874366239149e-01 + s4 * odd));
    double even = 2.222219843214978396e-01 + s4 * 1.531383769920937332e-01;
    even = s4 * (3.999999999940941908e-01 + s4 * even);
    double r = odd + even;
    double half = 0.5 * f * f;
    return k * LN2_HIGH - ((half - (s * (half + r) + k * LN2_LOW)) - f);
}

double go_log2(double x)
{
    if (!(x > 0) || isinf(x)) {
        return log2(x); /* NaN and infinities are no matter of rounding */
    }
    int exponent;
    double fraction = frexp(x, &exponent);
    if (fraction == 0.5) {
        return exponent - 1;
    }
    return log_of_fraction(fraction) * M_LOG2E + exponent;
}

double go_exp2(double x)
{
    if (isnan(x) || x > 1.0239999999999999e+03) {
        return isnan(x) ? x : (double)INFINITY;
    }
    if (x < -1.0740e+03) {
        return 0;
    }
    int k = (int)(x > 0 ? x + 0.5 : x - 0.5);
    double t = x - k;
    double high = t * LN2_HIGH;
    double low = -t * LN2_LOW;
    double r = high - low;
    double r2 = r * r;
    double p = -1.65339022054652515390e-06 + r2 * 4.13813679705723846039e-08;
    p = 6.61375632143793436117e-05 + r2 * p;
    p = 1.66666666666666657415e-01 + r2 * (-2.77777777770155933842e-03 + r2 * p);
    double c = r - r2 * p;
    return ldexp(1 - ((low - (r * c) / (2 - c)) - high), k);
}
