/* The remote write walkers beside protobuf-c. The first byte chooses the version and is not part of
 * the body. */
#include "tests/fuzz/remote_write/compare.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0) {
        return 0;
    }
    const char *fault =
        data[0] % 2 == 0 ? compare_v1(data + 1, len - 1) : compare_v2(data + 1, len - 1);
    if (fault != NULL) {
        fprintf(stderr, "remote write %s differs from protobuf-c: %s\n",
                data[0] % 2 == 0 ? "1.0" : "2.0", fault);
        abort();
    }
    return 0;
}
