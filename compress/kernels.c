#include "compress/kernels.h"

#include "compress/kernels_private.h"

const double kernels_power_of_ten[KERNELS_DIGITS_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8, 1e9,
    1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18};

const struct kernels *kernels_of(enum tsdb_cpu_level level)
{
    switch (level) {
    case TSDB_CPU_SCALAR:
        return &kernels_scalar;
    case TSDB_CPU_AVX2:
        return kernels_avx2.pack && tsdb_cpu_level() >= TSDB_CPU_AVX2 ? &kernels_avx2 : NULL;
    case TSDB_CPU_AVX512:
        return NULL;
    }
    return NULL;
}

const struct kernels *kernels_get(void)
{
    return tsdb_cpu_level() >= TSDB_CPU_AVX2 && kernels_avx2.pack ? &kernels_avx2 : &kernels_scalar;
}
