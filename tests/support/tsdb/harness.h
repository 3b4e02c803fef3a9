/* A database over the simulated disk and clock, with writes made of plain structs. Series are
 * numbered; series i has the labels {__name__="m<i%7>", i="<i>"}. Uses malloc and asserts, no
 * cmocka: a failure of the harness itself aborts. */
#ifndef TESTS_SUPPORT_TSDB_HARNESS_H
#define TESTS_SUPPORT_TSDB_HARNESS_H

#include "tsdb/batch_build.h"

#include <stdio.h>
#include <stdlib.h>

#define HX_SERIES_MAX  512
#define HX_WALL_MS     INT64_C(1700000000000)
#define HX_SAMPLES_MAX 256 /* of one write */

struct hx {
    struct tsdb_fs_sim *sim;
    struct tsdb_clock_sim clock;
    struct tsdb_prng prng; /* of the database: the hash seed */
    struct tsdb_options options;
    struct tsdb *db;                     /* NULL: closed */
    tsdb_series_ref refs[HX_SERIES_MAX]; /* TSDB_SERIES_NEW: not known */
    uint32_t generations[HX_SERIES_MAX];
};

struct hx_sample {
    uint32_t series;
    enum tsdb_sample_kind kind;
    int64_t t_ms;
    int64_t start_ms;   /* 0: none */
    uint64_t bits;      /* float */
    const uint8_t *raw; /* histogram */
    uint32_t raw_len;
};

/* Memory from malloc, the builder's too: a test that fails the Nth allocation fails the engine's, not
 * its own. */
#define HX_ARENA_BYTES (512u << 10)
struct hx_write {
    struct tsdb_write w;
    struct hx_write *next;
    bool done;
    uint32_t count;
    struct hx_sample samples[HX_SAMPLES_MAX]; /* w.new_series[i] is the series of samples[i] */
    struct tsdb_raw_histogram raws[HX_SAMPLES_MAX];
    struct tsdb_label labels[HX_SAMPLES_MAX][2];
    char text[HX_SAMPLES_MAX][2][16];
    struct tsdb_batch_build build;
    struct tsdb_arena arena;
    uint8_t *memory;
    void *arg; /* the test's */
};

/* Nothing is opened yet: options may be changed. */
void hx_init(struct hx *h, uint64_t seed);
/* Abandons a database that is open. */
void hx_deinit(struct hx *h);

enum tsdb_status hx_open(struct hx *h, struct tsdb_error *err);
enum tsdb_status hx_close(struct hx *h, struct tsdb_error *err);
/* Process death; with a power cut if `crash`. Whether the database is open or not. */
void hx_die(struct hx *h, bool crash);

struct hx_sample hx_float(uint32_t series, int64_t t_ms, double value);
/* Where samples[i] of a write that has begun goes. */
struct tsdb_build_target hx_target(struct hx *h, struct hx_write *x, uint32_t i);
/* A write to which tsdb_build_exemplar and the like may add, until hx_write_finish. */
struct hx_write *hx_write_begin(struct hx *h, const struct hx_sample *samples, uint32_t count);
/* durability is raised to the database's. */
void hx_write_finish(struct hx *h, struct hx_write *x, enum tsdb_durability durability);
/* Both. Raw histogram bytes stay the caller's until the write is
 * done. */
struct hx_write *hx_write_create(struct hx *h, const struct hx_sample *samples, uint32_t count,
                                 enum tsdb_durability durability);
void hx_write_destroy(struct hx_write *x);
/* Remember the refs that the write found, so that later writes use them. */
void hx_learn(struct hx *h, const struct hx_write *x);
/* Series of the write have left memory: later writes name them by their labels. */
void hx_forget(struct hx *h, const struct hx_write *x);
/* Every actor until nothing is left to do. */
void hx_settle(struct hx *h);
/* A value that says which series and time (a whole second) it belongs to. */
double hx_value_of(uint32_t series, int64_t t_ms);
/* All samples of the series are deleted. Returns how many there were; it must work. */
uint64_t hx_delete(struct hx *h, uint32_t series);
/* What the head holds is sealed, to the last open chunk, and in head files. */
void hx_seal_all(struct hx *h);
/* Write and wait; once more by labels when a series has left memory. The status of submit, else of the
 * write. */
enum tsdb_status hx_put(struct hx *h, const struct hx_sample *samples, uint32_t count,
                        enum tsdb_durability durability, struct tsdb_write_result *out_result);

/* Its number, from label i. */
uint32_t hx_series_of(const struct tsdb_labels *labels);
/* The series as the querier knows it; it has to be there. */
tsdb_series_ref hx_select(struct tsdb_querier *q, uint32_t series);
/* histogram: of the sample, decoded; NULL for floats. */
typedef void (*hx_found_fn)(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                            enum tsdb_sample_kind kind, uint64_t bits,
                            const struct tsdb_histogram *histogram);
/* Every sample of the database, through the public read path. */
enum tsdb_status hx_visit(struct hx *h, hx_found_fn fn, void *arg, struct tsdb_error *err);
/* A hx_found_fn that counts; arg: uint32_t *. */
void hx_count_one(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                  enum tsdb_sample_kind kind, uint64_t bits,
                  const struct tsdb_histogram *histogram);
uint32_t hx_count(struct hx *h);

#endif
