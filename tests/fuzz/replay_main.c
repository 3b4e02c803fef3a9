/* Replays corpus files through a fuzz target without libFuzzer: what `make test` runs. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    size_t cap = 1u << 24;
    uint8_t *data = malloc(cap);
    if (!data) {
        fclose(f);
        return 1;
    }
    size_t len = fread(data, 1, cap, f);
    fclose(f);
    /* An exact-size block, so that a sanitizer sees a read past the end. */
    uint8_t *exact = malloc(len ? len : 1);
    if (!exact) {
        free(data);
        return 1;
    }
    for (size_t i = 0; i < len; i++) {
        exact[i] = data[i];
    }
    free(data);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    int bad = argc < 2;
    for (int i = 1; i < argc; i++) {
        bad |= replay(argv[i]);
    }
    printf("replayed %d inputs\n", argc - 1);
    return bad;
}
