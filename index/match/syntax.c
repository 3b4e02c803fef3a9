/* One pass over a regular expression, as Go's parser makes it. No tree is built: of every group that
 * is open a frame knows what is needed, the height of the tree, how repeats multiply, and whether the
 * empty text matches. */
#include "index/match/syntax_private.h"

#include "base/alloc.h"

#include <string.h>

#define REPEAT_MAX 1000   /* also of repeats within repeats, multiplied */
#define FRAMES_MAX 100000 /* (?:(?:(?: adds no height, but memory here */
#define RUNE_MAX   0x10ffff

enum node_kind {
    NODE_NONE = 0,
    NODE_LITERAL, /* runes in a row are one */
    NODE_CLASS,
    NODE_CONCAT,
    NODE_ALTERNATE,
    NODE_OTHER
};
struct node {
    enum node_kind kind;
    uint32_t height;
    uint32_t repeats; /* most that repeats within multiply to */
    bool empty;       /* matches the empty text, where that is all there is */
    bool several;     /* NODE_LITERAL: more than one rune */
};

/* Several nodes that become one, as they come. */
struct many {
    uint32_t count;
    uint32_t height; /* of the highest, without the level of one of the same kind */
    uint32_t repeats;
    bool all_empty, any_empty;
    bool all_single; /* a rune or a class */
    struct node only;
};

struct frame {
    struct many concat; /* without `last` */
    struct node last;
    struct many alternate;
    bool captures;
};

struct parser {
    struct index_syntax *out;
    const char *begin, *pos, *end;
    struct frame *frames;
    uint32_t frame_count, frame_room;
    uint32_t group_count;
    const char *last_repeat; /* the repetition operator just before pos, or NULL */
    enum tsdb_status status;
};

/* ---- errors ---- */

static bool fail(struct parser *p, const char *reason, const char *shown, const char *shown_end)
{
    if (p->status == TSDB_OK) {
        p->status = TSDB_INVALID;
        p->out->reason = reason;
        p->out->shown = shown;
        p->out->shown_len = (size_t)(shown_end - shown);
    }
    return false;
}

static bool fail_whole(struct parser *p, const char *reason)
{
    return fail(p, reason, p->begin, p->end);
}

static bool nomem(struct parser *p)
{
    p->status = TSDB_NOMEM;
    return false;
}

/* ---- characters ---- */

/* The length of the character at s; 0: no UTF-8 (or nothing left). */
static size_t char_bytes(const char *s, const char *end)
{
    if (s == end) {
        return 0;
    }
    unsigned char c = (unsigned char)*s;
    size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return n <= (size_t)(end - s) && tsdb_utf8_valid(s, n) ? n : 0;
}

/* Step over a character; at the end of the text that is fine. */
static bool step(struct parser *p)
{
    size_t n = char_bytes(p->pos, p->end);
    if (n == 0 && p->pos < p->end) {
        return fail(p, "invalid UTF-8", p->pos, p->end);
    }
    p->pos += n;
    return true;
}

static bool check_utf8(struct parser *p, const char *s, const char *end)
{
    while (s < end) {
        size_t n = char_bytes(s, end);
        if (n == 0) {
            return fail(p, "invalid UTF-8", s, end);
        }
        s += n;
    }
    return true;
}

static bool at(const struct parser *p, size_t offset, char c)
{
    return offset < (size_t)(p->end - p->pos) && p->pos[offset] == c;
}

static void copy(struct parser *p, const char *from)
{
    tsdb_buf_put(&p->out->re2, from, (size_t)(p->pos - from));
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int hex_value(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- nodes ---- */

static void many_add(struct many *m, struct node n, enum node_kind kind)
{
    uint32_t height = n.kind == kind ? n.height - 1 : n.height; /* one in another is one */
    bool single = n.kind == NODE_CLASS || (n.kind == NODE_LITERAL && !n.several);
    m->only = n;
    m->all_empty = (m->count == 0 || m->all_empty) && n.empty;
    m->all_single = (m->count == 0 || m->all_single) && single;
    m->any_empty |= n.empty;
    m->height = TSDB_MAX(m->height, height);
    m->repeats = TSDB_MAX(m->repeats, n.repeats);
    m->count++;
}

static struct frame *top(struct parser *p)
{
    return &p->frames[p->frame_count - 1];
}

static bool check_height(struct parser *p, uint32_t height)
{
    return height <= INDEX_SYNTAX_HEIGHT_MAX || fail_whole(p, "expression nests too deeply");
}

static bool push(struct parser *p, struct node n)
{
    struct frame *f = top(p);
    if (n.kind == NODE_LITERAL && f->last.kind == NODE_LITERAL) {
        f->last.several = true;
        return true;
    }
    if (f->last.kind != NODE_NONE) {
        many_add(&f->concat, f->last, NODE_CONCAT);
    }
    f->last = n;
    return check_height(p, n.height);
}

static bool push_simple(struct parser *p, enum node_kind kind, bool empty)
{
    return push(p, (struct node){.kind = kind, .height = 1, .repeats = 1, .empty = empty});
}

/* What lies between two of "(|)" becomes one node, an alternative. */
static bool end_concat(struct parser *p)
{
    struct frame *f = top(p);
    if (f->last.kind != NODE_NONE) {
        many_add(&f->concat, f->last, NODE_CONCAT);
        f->last = (struct node){0};
    }
    const struct many m = f->concat;
    struct node n = m.only;
    if (m.count == 0) {
        n = (struct node){.kind = NODE_OTHER, .height = 1, .repeats = 1, .empty = true};
    } else if (m.count > 1) {
        n = (struct node){.kind = NODE_CONCAT,
                          .height = m.height + 1,
                          .repeats = m.repeats,
                          .empty = m.all_empty};
    }
    many_add(&f->alternate, n, NODE_ALTERNATE);
    f->concat = (struct many){0};
    return check_height(p, n.height);
}

static struct node end_alternate(struct parser *p)
{
    const struct many m = top(p)->alternate;
    if (m.count == 1) {
        return m.only;
    }
    if (m.all_single) {
        return (struct node){.kind = NODE_CLASS, .height = 1, .repeats = 1};
    }
    return (struct node){
        .kind = NODE_ALTERNATE, .height = m.height + 1, .repeats = m.repeats, .empty = m.any_empty};
}

/* ---- groups ---- */

/* Grows a full array to double its room. NULL: no memory; the array is gone then. */
static void *room_for_one(void *items, uint32_t count, uint32_t *room, size_t bytes_each)
{
    if (count < *room) {
        return items;
    }
    uint32_t grown = *room ? *room * 2 : 8;
    void *copy = tsdb_mem_alloc(TSDB_MEM_QUERY, (size_t)grown * bytes_each);
    if (items) {
        if (copy) {
            memcpy(copy, items, (size_t)count * bytes_each);
        }
        tsdb_mem_free(TSDB_MEM_QUERY, items, (size_t)*room * bytes_each);
    }
    *room = copy ? grown : 0;
    return copy;
}

static bool open_frame(struct parser *p, bool captures)
{
    if (p->frame_count == FRAMES_MAX) {
        return fail_whole(p, "expression nests too deeply");
    }
    p->frames = room_for_one(p->frames, p->frame_count, &p->frame_room, sizeof *p->frames);
    if (!p->frames) {
        return nomem(p);
    }
    p->frames[p->frame_count++] = (struct frame){.captures = captures};
    p->group_count += captures;
    return true;
}

static bool close_frame(struct parser *p)
{
    if (!end_concat(p)) {
        return false;
    }
    if (p->frame_count == 1) {
        return fail_whole(p, "unexpected )");
    }
    bool captures = top(p)->captures;
    struct node n = end_alternate(p);
    p->frame_count--;
    if (captures) {
        n.kind = NODE_OTHER;
        n.height++;
    }
    return push(p, n);
}

static bool keep_name(struct parser *p, const char *name, size_t len)
{
    struct index_syntax *s = p->out;
    s->names = room_for_one(s->names, s->name_count, &s->name_room, sizeof *s->names);
    if (!s->names) {
        return nomem(p);
    }
    s->names[s->name_count++] = (struct index_group_name){name, (uint32_t)len, p->group_count};
    return true;
}

/* (?P<name> or (?<name> at pos; start: bytes before the name. */
static bool named_group(struct parser *p, size_t start)
{
    const char *begin = p->pos;
    const char *close = memchr(begin, '>', (size_t)(p->end - begin));
    if (!close) {
        return check_utf8(p, begin, p->end) && fail(p, "invalid named capture", begin, p->end);
    }
    const char *name = begin + start;
    if (!check_utf8(p, name, close)) {
        return false;
    }
    bool valid = name < close;
    for (const char *s = name; s < close; s++) {
        valid = valid && (*s == '_' || is_word(*s));
    }
    if (!valid) {
        return fail(p, "invalid named capture", begin, close + 1);
    }
    p->pos = close + 1;
    tsdb_buf_put_u8(&p->out->re2, '(');
    return open_frame(p, true) && keep_name(p, name, (size_t)(close - name));
}

/* "(?" at pos: flags, a group without a number, or one with a name. */
static bool perl_group(struct parser *p)
{
    const char *begin = p->pos;
    if (p->end - begin > 4 && begin[2] == 'P' && begin[3] == '<') {
        return named_group(p, 4);
    }
    if (p->end - begin > 3 && begin[2] == '<') {
        return named_group(p, 3);
    }
    p->pos += 2;
    bool negative = false;
    bool any = false;
    while (p->pos < p->end) {
        char c = *p->pos;
        if (!step(p)) {
            return false;
        }
        if (c == 'i' || c == 'm' || c == 's' || c == 'U') {
            any = true;
        } else if (c == '-' && !negative) {
            negative = true;
            any = false;
        } else if ((c == ':' || c == ')') && (any || !negative)) {
            copy(p, begin);
            if (c == ')' && p->frame_count == 1) {
                tsdb_buf_put(&p->out->flags, begin, (size_t)(p->pos - begin));
            }
            return c == ')' || open_frame(p, false);
        } else {
            break;
        }
    }
    return fail(p, "invalid or unsupported Perl syntax", begin, p->pos);
}

static bool group(struct parser *p)
{
    if (at(p, 1, '?')) {
        return perl_group(p);
    }
    tsdb_buf_put_u8(&p->out->re2, '(');
    p->pos++;
    return open_frame(p, true);
}

/* ---- escapes ---- */

static bool bad_escape(struct parser *p, const char *begin)
{
    return fail(p, "invalid escape sequence", begin, p->pos);
}

/* Behind \x. */
static bool hex_escape(struct parser *p, const char *begin)
{
    if (p->pos == p->end) {
        return bad_escape(p, begin);
    }
    char c = *p->pos;
    if (!step(p)) {
        return false;
    }
    if (c != '{') {
        int high = hex_value(c);
        int low = p->pos < p->end ? hex_value(*p->pos) : -1;
        return step(p) && ((high >= 0 && low >= 0) || bad_escape(p, begin));
    }
    uint32_t rune = 0;
    for (bool any = false; p->pos < p->end; any = true) {
        c = *p->pos;
        if (!step(p)) {
            return false;
        }
        if (c == '}') {
            return any || bad_escape(p, begin);
        }
        int v = hex_value(c);
        rune = rune * 16 + (uint32_t)v;
        if (v < 0 || rune > RUNE_MAX) {
            break;
        }
    }
    return bad_escape(p, begin);
}

/* A backslash at pos that stands for one character. */
static bool escape(struct parser *p)
{
    const char *begin = p->pos++;
    if (p->pos == p->end) {
        return fail(p, "trailing backslash at end of expression", p->end, p->end);
    }
    char c = *p->pos;
    if (!step(p)) {
        return false;
    }
    if (c == 'x') {
        return hex_escape(p, begin);
    }
    if (c >= '0' && c <= '7') {
        bool more = p->pos < p->end && *p->pos >= '0' && *p->pos <= '7';
        if (c != '0' && !more) {
            return bad_escape(p, begin); /* a reference to a group */
        }
        for (int i = 0; i < 2 && p->pos < p->end && *p->pos >= '0' && *p->pos <= '7'; i++) {
            p->pos++;
        }
        return true;
    }
    bool named = c != '\0' && strchr("afnrtv", c) != NULL;
    return named || ((unsigned char)c < 0x80 && !is_word(c)) || bad_escape(p, begin);
}

/* \p or \P at pos. */
static bool unicode_class(struct parser *p, bool in_brackets)
{
    const char *begin = p->pos;
    bool negated = begin[1] == 'P';
    p->pos += 2;
    const char *name = p->pos;
    if (!step(p)) {
        return false;
    }
    const char *name_end = p->pos;
    if (name < p->end && *name == '{') {
        const char *close = memchr(name, '}', (size_t)(p->end - name));
        if (!close) {
            return check_utf8(p, begin, p->end) &&
                   fail(p, "invalid character class range", begin, p->end);
        }
        if (!check_utf8(p, ++name, close)) {
            return false;
        }
        name_end = close;
        p->pos = close + 1;
    }
    if (name < name_end && *name == '^') {
        negated = !negated;
        name++;
    }
    return index_syntax_put_class(name, (size_t)(name_end - name), negated, in_brackets,
                                  &p->out->re2) ||
           fail(p, "invalid character class range", begin, p->pos);
}

static bool is_perl_class(char c)
{
    return c != '\0' && strchr("dDsSwW", c) != NULL;
}

/* ---- brackets ---- */

/* One of the two ends of a range. */
static bool class_char(struct parser *p, const char *whole)
{
    if (p->pos == p->end) {
        return fail(p, "missing closing ]", whole, p->end);
    }
    return *p->pos == '\\' ? escape(p) : step(p);
}

/* The value of the character that was read from begin to p->pos. */
static uint32_t class_value(const struct parser *p, const char *s)
{
    const char *named = "a\af\fn\nr\rt\tv\v";
    uint32_t v = 0;
    if (*s != '\\') {
        size_t n = (size_t)(p->pos - s);
        unsigned char c = (unsigned char)*s;
        v = n == 1 ? c : c & (0xffu >> (n + 1));
        for (size_t i = 1; i < n; i++) {
            v = v << 6 | ((unsigned char)s[i] & 0x3fu);
        }
        return v;
    }
    s++;
    if (*s == 'x') {
        for (s++; s < p->pos; s++) {
            v = hex_value(*s) >= 0 ? v * 16 + (uint32_t)hex_value(*s) : v;
        }
        return v;
    }
    for (const char *n = named; *n; n += 2) {
        if (*n == *s) {
            return (unsigned char)n[1];
        }
    }
    if (!is_digit(*s)) {
        return (unsigned char)*s;
    }
    for (; s < p->pos; s++) {
        v = v * 8 + (uint32_t)(*s - '0');
    }
    return v;
}

static bool class_range(struct parser *p, const char *whole)
{
    const char *begin = p->pos;
    if (!class_char(p, whole)) {
        return false;
    }
    uint32_t low = class_value(p, begin);
    if (at(p, 0, '-') && p->end - p->pos >= 2 && p->pos[1] != ']') {
        const char *second = ++p->pos;
        if (!class_char(p, whole)) {
            return false;
        }
        if (class_value(p, second) < low) {
            return fail(p, "invalid character class range", begin, p->pos);
        }
    }
    copy(p, begin);
    return true;
}

/* Where "[:name:]" at pos ends; NULL: it is none. */
static const char *ascii_class_end(const struct parser *p)
{
    if (p->end - p->pos < 3 || p->pos[0] != '[' || p->pos[1] != ':') {
        return NULL;
    }
    const char *s = memmem(p->pos + 2, (size_t)(p->end - p->pos) - 2, ":]", 2);
    return s ? s + 2 : NULL;
}

static bool brackets(struct parser *p)
{
    const char *whole = p->pos++;
    p->pos += at(p, 0, '^');
    copy(p, whole);
    for (bool first = true; p->pos == p->end || *p->pos != ']' || first; first = false) {
        const char *begin = p->pos;
        const char *named_end = ascii_class_end(p);
        bool ok = true;
        if (named_end) {
            p->pos = named_end;
            ok = index_syntax_is_ascii_class(begin, (size_t)(named_end - begin)) ||
                 fail(p, "invalid character class range", begin, named_end);
            copy(p, begin);
        } else if (at(p, 0, '\\') && (at(p, 1, 'p') || at(p, 1, 'P'))) {
            ok = unicode_class(p, true);
        } else if (at(p, 0, '\\') && p->end - p->pos >= 2 && is_perl_class(p->pos[1])) {
            p->pos += 2;
            copy(p, begin);
        } else {
            ok = class_range(p, whole);
        }
        if (!ok) {
            return false;
        }
    }
    p->pos++;
    tsdb_buf_put_u8(&p->out->re2, ']');
    return push_simple(p, NODE_CLASS, false);
}

/* ---- repetition ---- */

/* The last node, or the last rune of it, becomes a repeated one. times: what it multiplies by; 0:
 * exactly no time. */
static bool repeat(struct parser *p, const char *begin, bool may_be_none, int times)
{
    p->pos += at(p, 0, '?');
    if (p->last_repeat) {
        return fail(p, "invalid nested repetition operator", p->last_repeat, p->pos);
    }
    struct frame *f = top(p);
    if (f->last.kind == NODE_NONE) {
        return fail(p, "missing argument to repetition operator", begin, p->pos);
    }
    if (f->last.kind == NODE_LITERAL && f->last.several) {
        many_add(&f->concat, f->last, NODE_CONCAT); /* all but the last rune */
        f->last.several = false;
    }
    uint64_t repeats = times == 0 ? 1 : (uint64_t)f->last.repeats * (uint64_t)TSDB_MAX(times, 1);
    f->last.kind = NODE_OTHER;
    f->last.height++;
    f->last.empty |= may_be_none;
    if (!check_height(p, f->last.height)) {
        return false;
    }
    if (times >= 2 && repeats > REPEAT_MAX) {
        return fail(p, "invalid repeat count", begin, p->pos);
    }
    f->last.repeats = (uint32_t)TSDB_MIN(repeats, REPEAT_MAX + 1);
    copy(p, begin);
    p->last_repeat = begin;
    return true;
}

/* Digits at *s without leading zeros. -1: too many; false: none. */
static bool count_parse(const char **s, const char *end, int *out)
{
    const char *t = *s;
    if (t == end || !is_digit(*t) || (end - t >= 2 && t[0] == '0' && is_digit(t[1]))) {
        return false;
    }
    int n = 0;
    for (; t < end && is_digit(*t); t++) {
        n = n < 0 || n >= 100000000 ? -1 : n * 10 + (*t - '0');
    }
    *s = t;
    *out = n;
    return true;
}

/* "{2,5}" at pos; *is_one false: the brace is a character like others. */
static bool counted_repeat(struct parser *p, bool *is_one)
{
    const char *begin = p->pos;
    const char *s = begin + 1;
    int min;
    int max;
    *is_one = false;
    if (!count_parse(&s, p->end, &min) || s == p->end) {
        return true;
    }
    max = min;
    if (*s == ',') {
        s++;
        if (s == p->end) {
            return true;
        }
        max = -1;
        if (*s != '}') {
            if (!count_parse(&s, p->end, &max)) {
                return true;
            }
            min = max < 0 ? -1 : min;
        }
    }
    if (s == p->end || *s != '}') {
        return true;
    }
    *is_one = true;
    p->pos = s + 1;
    if (min < 0 || min > REPEAT_MAX || max > REPEAT_MAX || (max >= 0 && min > max)) {
        return fail(p, "invalid repeat count", begin, p->pos);
    }
    /* {n,} multiplies by n; {0} leaves nothing to multiply */
    return repeat(p, begin, min == 0, max == 0 ? 0 : max > 0 ? max : TSDB_MAX(min, 1));
}

/* ---- the whole ---- */

/* \Q: up to \E or the end all is literal. */
static bool quoted(struct parser *p)
{
    const char *begin = p->pos;
    p->pos += 2;
    const char *close = memmem(p->pos, (size_t)(p->end - p->pos), "\\E", 2);
    const char *stop = close ? close : p->end;
    while (p->pos < stop) {
        size_t n = char_bytes(p->pos, stop);
        if (n == 0) {
            return fail(p, "invalid UTF-8", p->pos, stop);
        }
        p->pos += n;
        if (!push_simple(p, NODE_LITERAL, false)) {
            return false;
        }
    }
    p->pos = close ? close + 2 : p->end;
    copy(p, begin);
    return true;
}

static bool backslash(struct parser *p)
{
    const char *begin = p->pos;
    char c = p->end - begin >= 2 ? begin[1] : '\0';
    if (c == 'Q') {
        return quoted(p);
    }
    if (c == 'p' || c == 'P') {
        return unicode_class(p, false) && push_simple(p, NODE_CLASS, false);
    }
    if (c == 'A' || c == 'z' || c == 'b' || c == 'B' || is_perl_class(c)) {
        p->pos += 2;
        copy(p, begin);
        /* within nothing there is no boundary of a word */
        return is_perl_class(c) ? push_simple(p, NODE_CLASS, false)
                                : push_simple(p, NODE_OTHER, c != 'b');
    }
    if (c == 'C') {
        p->pos += 2;
        return bad_escape(p, begin);
    }
    if (!escape(p)) {
        return false;
    }
    copy(p, begin);
    return push_simple(p, NODE_LITERAL, false);
}

static bool keep_alternative(struct parser *p)
{
    struct index_syntax *s = p->out;
    s->alternatives = room_for_one(s->alternatives, s->alternative_count, &s->alternative_room,
                                   sizeof *s->alternatives);
    if (!s->alternatives) {
        return nomem(p);
    }
    s->alternatives[s->alternative_count++] =
        (struct index_alternative){(uint32_t)s->re2.len, (uint32_t)s->flags.len};
    return true;
}

/* A byte that is an operator by itself, or the character at pos. */
static bool character(struct parser *p)
{
    const char *begin = p->pos;
    char c = *begin;
    if (!step(p)) {
        return false;
    }
    copy(p, begin);
    switch (c) {
    case '|':
        return end_concat(p) && (p->frame_count > 1 || keep_alternative(p));
    case ')':
        return close_frame(p);
    case '^':
    case '$':
        return push_simple(p, NODE_OTHER, true);
    case '.':
        return push_simple(p, NODE_CLASS, false);
    default:
        return push_simple(p, NODE_LITERAL, false);
    }
}

static bool item(struct parser *p)
{
    const char *begin = p->pos;
    bool is_repeat = false;
    bool ok;
    switch (*begin) {
    case '(':
        ok = group(p);
        break;
    case '[':
        ok = brackets(p);
        break;
    case '\\':
        ok = backslash(p);
        break;
    case '*':
    case '+':
    case '?':
        p->pos++;
        return repeat(p, begin, *begin != '+', 1);
    case '{':
        ok = counted_repeat(p, &is_repeat);
        if (is_repeat) {
            return ok;
        }
        ok = ok && character(p);
        break;
    default:
        ok = character(p);
        break;
    }
    p->last_repeat = NULL;
    return ok;
}

enum tsdb_status index_syntax_parse(const char *pattern, size_t len, struct index_syntax *out)
{
    static const char nothing;
    pattern = pattern ? pattern : &nothing;
    struct parser p = {.out = out, .begin = pattern, .pos = pattern, .end = pattern + len};
    *out = (struct index_syntax){0};
    tsdb_buf_init(&out->re2, TSDB_MEM_QUERY, 0);
    tsdb_buf_init(&out->flags, TSDB_MEM_QUERY, 0);
    bool ok = open_frame(&p, false);
    while (ok && p.pos < p.end) {
        ok = item(&p);
    }
    ok = ok && end_concat(&p);
    if (ok && p.frame_count > 1) {
        ok = fail_whole(&p, "missing closing )");
    }
    if (ok) {
        const struct node n = end_alternate(&p);
        out->matches_empty = n.empty;
        out->height = n.kind == NODE_CONCAT ? n.height : n.height + 1;
        (void)check_height(&p, n.height);
    }
    tsdb_mem_free(TSDB_MEM_QUERY, p.frames, (size_t)p.frame_room * sizeof *p.frames);
    bool failed = out->re2.failed || out->flags.failed;
    return p.status == TSDB_OK && failed ? TSDB_NOMEM : p.status;
}

void index_syntax_deinit(struct index_syntax *s)
{
    tsdb_buf_deinit(&s->re2);
    tsdb_buf_deinit(&s->flags);
    tsdb_mem_free(TSDB_MEM_QUERY, s->names, (size_t)s->name_room * sizeof *s->names);
    tsdb_mem_free(TSDB_MEM_QUERY, s->alternatives,
                  (size_t)s->alternative_room * sizeof *s->alternatives);
    *s = (struct index_syntax){0};
}
