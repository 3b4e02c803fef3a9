/* The file of metadata: the parser reads within its bytes, and what it accepts is written as it was read.
 * Run as it is, and once more with every CRC put right, so far as the lengths lead. */
#include "base/crc32c.h"
#include "tsdb/recovery/metadata_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

struct copy {
    struct tsdb_buf buf;
    uint32_t records;
};

static enum tsdb_status put_again(void *arg, const struct tsdb_metadata *m)
{
    struct copy *c = arg;
    must(m->type < TSDB_METRIC_TYPE_COUNT);
    metadata_file_put(&c->buf, m);
    c->records++;
    return TSDB_OK;
}

static enum tsdb_status count_one(void *arg, const struct tsdb_metadata *m)
{
    (void)m;
    ++*(uint32_t *)arg;
    return TSDB_OK;
}

/* A uvarint may have come in more bytes than it needs: what was read is the same, its bytes need not be. */
static void parse(const uint8_t *data, size_t len)
{
    struct copy c = {0};
    uint32_t again = 0;
    tsdb_buf_init(&c.buf, TSDB_MEM_OTHER, 0);
    metadata_file_begin(&c.buf);
    enum tsdb_status status = metadata_file_parse(data, len, put_again, &c, NULL);
    metadata_file_end(&c.buf, c.records);
    must(status != TSDB_OK || c.buf.len <= len);
    must(metadata_file_parse(c.buf.data, c.buf.len, count_one, &again, NULL) == TSDB_OK);
    must(again == c.records);
    tsdb_buf_deinit(&c.buf);
}

static void put_right(uint8_t *data, size_t len)
{
    tsdb_store_le32(data + 28, tsdb_crc32c(0, data, 28));
    for (size_t at = METADATA_FILE_HEADER_BYTES; len - at >= METADATA_FILE_RECORD_BYTES;) {
        size_t payload = tsdb_load_le32(data + at);
        uint8_t place[8];
        if (payload > len - at - METADATA_FILE_RECORD_BYTES) {
            break;
        }
        tsdb_store_le64(place, at);
        uint32_t crc = tsdb_crc32c(0, place, sizeof place);
        tsdb_store_le32(data + at + 4,
                        tsdb_crc32c(crc, data + at + METADATA_FILE_RECORD_BYTES, payload));
        at += METADATA_FILE_RECORD_BYTES + payload;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    parse(data, len);
    if (len >= METADATA_FILE_HEADER_BYTES) {
        uint8_t *copy = malloc(len);
        must(copy != NULL);
        memcpy(copy, data, len);
        put_right(copy, len);
        parse(copy, len);
        free(copy);
    }
    return 0;
}
