#include "model/matcher.h"

const char *tsdb_match_op_text(enum tsdb_match_op op)
{
    switch (op) {
    case TSDB_MATCH_EQ:
        return "=";
    case TSDB_MATCH_NE:
        return "!=";
    case TSDB_MATCH_RE:
        return "=~";
    case TSDB_MATCH_NRE:
        return "!~";
    }
    return "?";
}
