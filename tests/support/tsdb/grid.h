/* A plain map beside a database that deletes: series by time on a grid, one value or none in each cell. A
 * value below zero stands for a histogram with that sum, of integers or of floats.
 * Cells that have a value are not written again, so there are no conflicts to weigh. Beside harness.h;
 * asserts, no cmocka. */
#ifndef TESTS_SUPPORT_TSDB_GRID_H
#define TESTS_SUPPORT_TSDB_GRID_H

#include "tests/support/tsdb/harness.h"

#define GRID_SERIES 28u
#define GRID_TIMES  96u
#define GRID_STEP   INT64_C(1000)

struct grid {
    struct hx *h;
    int64_t first_ms;
    uint64_t bits[GRID_SERIES][GRID_TIMES]; /* 0: nothing */
    uint64_t next;                          /* every value once */
    uint32_t histograms;                    /* of so many cells one has a histogram; 0: none */
    struct {
        uint32_t series, series_count, t, t_count; /* where is written; count 0: anywhere */
    } window;
    int64_t oldest_ms; /* what is older may be gone, or show */
};

void grid_init(struct grid *g, struct hx *h, int64_t first_ms);
int64_t grid_time(const struct grid *g, uint32_t t);
/* Write up to `count` random empty cells, and wait. The status of the write; the map has them whatever that
 * is. */
enum tsdb_status grid_put(struct grid *g, struct tsdb_prng *p, uint32_t count);
/* Series of a delete: those with name m<name> (GRID_ANY: all) and i of the list (0 of them: all). */
#define GRID_ANY UINT32_MAX
struct grid_delete {
    uint32_t name;
    uint32_t list[4], list_count;
    struct tsdb_time_range range;
};
struct grid_delete grid_random_delete(const struct grid *g, struct tsdb_prng *p);
/* Delete from the database, and from the map, whatever the status; info may be NULL. */
enum tsdb_status grid_delete(struct grid *g, const struct grid_delete *d,
                             struct tsdb_delete_info *info, struct tsdb_error *err);
/* How many cells have a value. */
uint32_t grid_count(const struct grid *g);
/* NULL: this is what the map has at that cell, or may be missing. */
const char *grid_check(const struct grid *g, uint32_t series, int64_t t_ms, uint64_t is);
/* The value of a cell that was read: the histogram's, if it is one. */
uint64_t grid_value(enum tsdb_sample_kind kind, uint64_t bits,
                    const struct tsdb_histogram *histogram);
/* NULL: the database shows what the map has, and nothing else. */
const char *grid_compare(struct grid *g);
/* NULL: in each cell it shows what one of the two has: g, and the map after what is under way. Then g is
 * what it shows. */
const char *grid_settle(struct grid *g, const struct grid *after);

#endif
