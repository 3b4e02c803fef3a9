/* What a database must hold: a map (series, time) -> sample, and how safe each sample is. Beside
 * harness.h.
 *
 * A sample is
 *   sent       handed to submit; the database may have it
 *   acked      its write was answered OK: every read must show it
 *   kill_safe  answered in buffered or strict mode: a process death must not lose it
 *   cut_safe   answered in strict mode, or known to be synced: a power cut must not lose it
 * The first value sent for a (series, time) is the one that is stored; others are conflicts. Where
 * its write was refused (the log had no segment just then) it may have been applied or not: the cell
 * is in doubt until a read settles which of the values sent since is the first. What that read shows
 * stays, whatever is answered later, but for a power cut: what is not cut_safe may go, and leave a
 * conflict that had passed. */
#ifndef TESTS_SUPPORT_TSDB_MODEL_H
#define TESTS_SUPPORT_TSDB_MODEL_H

#include "tests/support/tsdb/harness.h"

#define MX_CELLS   8192u /* a power of two; a run must stay well below */
#define MX_RAWS    4u
#define MX_RAW_MAX 256u
#define MX_RIVALS                                                                                  \
    16u /* other values sent for a cell; from 4 on only those of one write are added */

struct mx_value {
    uint8_t kind;
    uint8_t raw; /* index into raws */
    int64_t start_ms;
    uint64_t bits;
};

struct mx_cell {
    bool used, sent, acked, kill_safe, cut_safe, found;
    bool whole;   /* its one write went to one owner: answered means that nothing of it was synced
                   long before */
    bool leaving; /* a delete of it was not answered with OK: there or not */
    bool doubt;   /* the value's write was refused: a rival may be the first */
    struct mx_value v;   /* the first */
    uint8_t rival_count; /* those sent while the first was not cut_safe */
    struct mx_value rivals[MX_RIVALS];
    uint32_t series;
    int64_t t_ms;
    int64_t acked_ns;
};

struct mx_write {
    struct hx_write *x;
    struct mx_write *next;
    enum tsdb_durability durability;
    uint32_t count;
    uint32_t cells[HX_SAMPLES_MAX]; /* of each sample, and what was sent */
    struct mx_value values[HX_SAMPLES_MAX];
};

struct mx {
    struct hx *h;
    struct mx_cell cells[MX_CELLS];
    uint32_t used;
    uint32_t doubts;         /* cells in doubt */
    int64_t wall_max_ms;     /* the latest that the wall clock has shown, mx_clock */
    struct mx_write *writes; /* under way, oldest first */
    uint8_t raws[MX_RAWS][MX_RAW_MAX];
    uint32_t raw_len[MX_RAWS];
    uint8_t raw_kind[MX_RAWS];
    /* Chunks go to files, against which nothing is checked: a conflict may be taken, though it is
     * never shown. What is in files of a memory mode was never logged: a conflict that is would be
     * all that is left after a death, so none is sent there. */
    bool conflicts_pass, no_conflicts;
    bool io_faults;     /* an EIO or ENOSPC was armed in this life of the process */
    char failure[1100]; /* first one; empty: none */
};

#define mx_fail(m, ...)                                                                            \
    do {                                                                                           \
        if (!(m)->failure[0]) {                                                                    \
            snprintf((m)->failure, sizeof(m)->failure, __VA_ARGS__);                               \
        }                                                                                          \
    } while (0)

void mx_init(struct mx *m, struct hx *h);

struct mx_cell *mx_cell(struct mx *m, uint32_t series, int64_t t_ms);

/* raws[i]: which raw histogram sample i holds. Submits; false if the database refused (nothing is
 * noted then). */
bool mx_submit(struct mx *m, const struct hx_sample *samples, const uint8_t *raws, uint32_t count,
               enum tsdb_durability durability);

/* Note the writes that are done. */
void mx_reap(struct mx *m);

/* All that was answered is durable: after a checkpoint or clean close (all), or when the log has no
 * un-synced byte (logged). */
void mx_durable(struct mx *m, bool all);

/* Series with the name m<name> (MX_ANY: all) are about to lose what they have in the range, or may have lost
 * it by now. No write is under way. */
#define MX_ANY UINT32_MAX
void mx_delete_begin(struct mx *m, uint32_t name, struct tsdb_time_range range);
/* The delete that was begun last was answered with OK: what it was about is gone for good. */
void mx_delete_done(struct mx *m);

/* The wall clock has moved, or is about to jump back. */
void mx_clock(struct mx *m);

/* Answered, logged and not known to be durable; and how old the oldest is. */
uint32_t mx_at_risk(const struct mx *m, int64_t *out_age_ns);

enum mx_since {
    MX_RUNNING,
    MX_KILLED,
    MX_CUT
};
/* Compare with what the database shows. After a death (KILLED, CUT) what is missing and may be is
 * forgotten, and what is there is durable from now on, because recovery synced it. */
void mx_check(struct mx *m, enum mx_since since);

/* The process dies, whether the database is open or not; its writes end unanswered. */
void mx_die(struct mx *m, bool crash);

/* A sample within the last `span_s` seconds of simulated time, on whole seconds so that times
 * collide. */
struct hx_sample mx_random_sample(struct mx *m, struct tsdb_prng *p, uint32_t series_count,
                                  uint32_t span_s, uint8_t *out_raw);

#endif
