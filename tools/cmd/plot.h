/* Samples over time as a picture of characters, for a terminal.
 *
 *   1.5 |        *       |     a mark per series; what several have at one place shows the last of them
 *       |   * *    *     |
 *   0.5 | *       +++++++|
 *       2023-11-15T00:00:00Z ... 2023-11-15T01:00:00Z
 *       * up{job="a"}   least 0.5, most 1.5, last 0.5
 *
 * At most PLOT_SERIES_MAX series and PLOT_POINTS_MAX points are held; what is left out is counted.
 * Threads: one.
 */
#ifndef TOOLS_CMD_PLOT_H
#define TOOLS_CMD_PLOT_H

#include "base/bytes.h"

#include <stdbool.h>

#define PLOT_SERIES_MAX 8u
#define PLOT_POINTS_MAX (1u << 20)
#define PLOT_WIDTH_MIN  40u
#define PLOT_WIDTH_MAX  400u
#define PLOT_ROWS       20u

struct plot {
    struct tsdb_buf points; /* u32 series | i64 ms | 64 bits */
    struct tsdb_buf names;  /* u32 length | bytes */
    uint32_t series;        /* begun, those that are left out too */
    uint32_t count;         /* points */
    uint64_t left_out;      /* NaN, infinite, histograms, points beyond the most */
};
void plot_init(struct plot *p);
void plot_deinit(struct plot *p);
/* A series begins; its points follow. */
void plot_series(struct plot *p, const void *name, size_t len);
void plot_point(struct plot *p, int64_t t_ms, const void *value, size_t len);
/* width: of the whole picture, in characters; brought between MIN and MAX. NOMEM shows in out->failed. */
void plot_print(const struct plot *p, uint32_t width, struct tsdb_buf *out);

#endif
