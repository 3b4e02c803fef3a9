#include "query/lang/functions.h"

#include "model/labels.h"

#define S QUERY_TYPE_SCALAR
#define V QUERY_TYPE_VECTOR
#define M QUERY_TYPE_MATRIX
#define T QUERY_TYPE_STRING

#define TYPES(...) ((const enum query_type[]){__VA_ARGS__})
#define TAKES(...)                                                                                 \
    .args = {__VA_ARGS__}, .arg_count = sizeof TYPES(__VA_ARGS__) / sizeof(enum query_type)
#define RETURNS(type) .returns = type

/* The language only wants to know whether there is an implementation. */
#define MAP(f)   true
#define RANGE(f) true
#define BUILD(f) true
#define NOT_YET  false

#define FUNCTION(function, implementation, ...)                                                    \
    {.name = #function,                                                                            \
     .id = QUERY_FUNCTION_##function,                                                              \
     .supported = (implementation),                                                                \
     __VA_ARGS__},

static const struct query_function table[QUERY_FUNCTION_COUNT] = {
#include "query/lang/functions.def"
};

const struct query_function *query_function_find(const char *name, size_t len)
{
    uint32_t low = 0;
    uint32_t high = QUERY_FUNCTION_COUNT;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct query_function *f = &table[middle];
        int c = tsdb_str_compare(name, len, f->name, strlen(f->name));
        if (c == 0) {
            return f;
        }
        if (c < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const struct query_function *query_functions(uint32_t *out_count)
{
    *out_count = QUERY_FUNCTION_COUNT;
    return table;
}
