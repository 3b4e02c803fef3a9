/* What the functions from float to float compute. */
#include "query/eval/func.h"

#include <math.h>

#define MAP_LIBM(name, f)                                                                          \
    double map_##name(double v, const double *args)                                                \
    {                                                                                              \
        (void)args;                                                                                \
        return f(v);                                                                               \
    }
MAP_LIBM(abs, fabs)
MAP_LIBM(acos, acos)
MAP_LIBM(acosh, acosh)
MAP_LIBM(asin, asin)
MAP_LIBM(asinh, asinh)
MAP_LIBM(atan, atan)
MAP_LIBM(atanh, atanh)
MAP_LIBM(ceil, ceil)
MAP_LIBM(cos, cos)
MAP_LIBM(cosh, cosh)
MAP_LIBM(exp, exp)
MAP_LIBM(floor, floor)
MAP_LIBM(ln, log)
MAP_LIBM(log10, log10)
MAP_LIBM(log2, log2)
MAP_LIBM(sin, sin)
MAP_LIBM(sinh, sinh)
MAP_LIBM(sqrt, sqrt)
MAP_LIBM(tan, tan)
MAP_LIBM(tanh, tanh)

double map_deg(double v, const double *args)
{
    (void)args;
    return v * 180 / M_PI;
}

double map_rad(double v, const double *args)
{
    (void)args;
    return v * M_PI / 180;
}

double map_sgn(double v, const double *args)
{
    (void)args;
    return v < 0 ? -1 : v > 0 ? 1 : v;
}

/* Halves go up. The inverse loses less than dividing by it. */
double map_round(double v, const double *args)
{
    double inverse = 1.0 / args[0];
    return floor(v * inverse + 0.5) / inverse;
}
