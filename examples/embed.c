/* Tidalite inside another program: open, append, select, close. With the library installed (`make
 * install`, or the package libtidalite-dev):
 *
 *   cc embed.c $(pkg-config --cflags --libs tidalite) -o embed
 *
 * or, for a program that needs no shared library of ours, with `--static` and
 * -Wl,-Bstatic -ltidalite -Wl,-Bdynamic in place of -ltidalite.
 *
 * Usage: embed <directory>. Each run adds a few samples and prints what is there. */
#include <tidalite.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

static struct tidalite_label label(const char *name, const char *value)
{
    return (struct tidalite_label){name, strlen(name), value, strlen(value)};
}

static int append(struct tidalite *db)
{
    int64_t now_ms = (int64_t)time(NULL) * 1000;
    struct tidalite_label inside[] = {label("__name__", "temperature_celsius"),
                                      label("room", "kitchen")};
    struct tidalite_label outside[] = {label("__name__", "temperature_celsius"),
                                       label("room", "garden")};
    struct tidalite_sample warm[] = {{now_ms - 1000, 21.5}, {now_ms, 21.6}};
    struct tidalite_sample cold[] = {{now_ms, -3.25}};
    struct tidalite_series series[] = {{inside, 2, warm, 2}, {outside, 2, cold, 1}};
    struct tidalite_append_result result;
    if (tidalite_append(db, series, 2, TIDALITE_STRICT, &result) != TIDALITE_OK) {
        fprintf(stderr, "append: %s\n", tidalite_last_error());
        return 1;
    }
    printf("%llu samples written\n", (unsigned long long)result.written);
    return 0;
}

static void print_series(const struct tidalite_view *v)
{
    for (size_t i = 0; i < v->label_count; i++) {
        const struct tidalite_label *l = &v->labels[i];
        printf("%s%.*s=\"%.*s\"", i ? ", " : "{", (int)l->name_len, l->name, (int)l->value_len,
               l->value);
    }
    printf("}\n");
    for (size_t i = 0; i < v->sample_count; i++) {
        printf("  %lld  %g\n", (long long)v->samples[i].t_ms, v->samples[i].value);
    }
}

static int print_all(struct tidalite *db)
{
    struct tidalite_matcher every = {TIDALITE_REGEX, "room", 4, ".+", 2};
    struct tidalite_cursor *cursor = NULL;
    if (tidalite_select(db, &every, 1, INT64_MIN, INT64_MAX, &cursor) != TIDALITE_OK) {
        fprintf(stderr, "select: %s\n", tidalite_last_error());
        return 1;
    }
    struct tidalite_view view;
    enum tidalite_status status;
    while ((status = tidalite_cursor_next(cursor, &view)) == TIDALITE_OK) {
        print_series(&view);
    }
    tidalite_cursor_close(cursor);
    return status == TIDALITE_NOT_FOUND ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s <directory>\n", argv[0]);
        return 2;
    }
    struct tidalite_options options;
    struct tidalite *db = NULL;
    tidalite_options_init(&options);
    options.path = argv[1];
    if (tidalite_open(&options, &db) != TIDALITE_OK) {
        fprintf(stderr, "open: %s\n", tidalite_last_error());
        return 1;
    }
    int failed = append(db) || print_all(db);
    if (tidalite_close(db) != TIDALITE_OK) {
        fprintf(stderr, "close: %s\n", tidalite_last_error());
        failed = 1;
    }
    return failed;
}
