/* meta.json: the parser never reads out of bounds, and what it accepts is printed and read back as
 * the same. Run as it is, and once more with the CRC put right. */
#include "base/crc32c.h"
#include "tsdb/block/block_private.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void parse(const uint8_t *data, size_t len)
{
    struct block_meta m;
    struct block_meta again;
    struct block_file_sizes s;
    struct block_file_sizes s_again;
    struct tsdb_buf buf;
    if (block_meta_parse(data, len, &m, &s, NULL) != TSDB_OK) {
        return;
    }
    tsdb_buf_init(&buf, TSDB_MEM_OTHER, 0);
    block_meta_print(&m, &s, &buf);
    must(block_meta_parse(buf.data, buf.len, &again, &s_again, NULL) == TSDB_OK);
    must(strcmp(m.ulid, again.ulid) == 0 && m.min_ms == again.min_ms && m.max_ms == again.max_ms);
    must(m.samples == again.samples && m.level == again.level && s.index == s_again.index);
    tsdb_buf_deinit(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char tail[] = "\"crc32c\": \"";
    parse(data, len);
    for (size_t at = 0; at + sizeof tail - 1 + 8 <= len; at++) {
        if (memcmp(data + at, tail, sizeof tail - 1) == 0) {
            uint8_t *copy = malloc(len);
            char crc[9];
            must(copy != NULL);
            memcpy(copy, data, len);
            (void)snprintf(crc, sizeof crc, "%08x", (unsigned)tsdb_crc32c(0, data, at));
            memcpy(copy + at + sizeof tail - 1, crc, 8);
            parse(copy, len);
            free(copy);
            break;
        }
    }
    return 0;
}
