/* MANIFEST: the parser never reads out of bounds, no path that it takes leads out of the snapshot, and
 * what it takes is printed and read back as the same. Run as it is, and once more with the CRC put
 * right. */
#include "base/crc32c.h"
#include "tsdb/recovery/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void parse(const uint8_t *data, size_t len)
{
    struct manifest m = {0};
    struct manifest again = {0};
    struct tsdb_buf buf;
    if (manifest_parse(data, len, &m, NULL) != TSDB_OK) {
        return;
    }
    for (uint32_t i = 0; i < m.count; i++) {
        const char *path = m.files[i].path;
        must(path[0] != '\0' && path[0] != '/' && strncmp(path, "../", 3) != 0);
        must(!strstr(path, "/../") && !strstr(path, "//") && strcmp(path, "..") != 0);
    }
    tsdb_buf_init(&buf, TSDB_MEM_OTHER, 0);
    manifest_print(&m, &buf);
    must(!buf.failed && manifest_parse(buf.data, buf.len, &again, NULL) == TSDB_OK);
    must(again.count == m.count && again.created_ms == m.created_ms && again.head == m.head);
    must(memcmp(again.files, m.files, m.count * sizeof m.files[0]) == 0);
    tsdb_buf_deinit(&buf);
    manifest_deinit(&m);
    manifest_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char key[] = "crc32c ";
    const size_t line = sizeof key - 1 + 8 + 1;
    parse(data, len);
    if (len > line && memcmp(data + len - line, key, sizeof key - 1) == 0) {
        char digits[9];
        uint8_t *copy = malloc(len);
        must(copy != NULL);
        memcpy(copy, data, len);
        (void)snprintf(digits, sizeof digits, "%08x", tsdb_crc32c(0, copy, len - line));
        memcpy(copy + len - 9, digits, 8);
        parse(copy, len);
        free(copy);
    }
    return 0;
}
