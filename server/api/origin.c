#include "server/api/origin.h"

#include <string.h>
#include <strings.h>

bool origin_is_foreign(const char *origin, const char *sec_fetch_site, const char *host)
{
    if (sec_fetch_site && strcasecmp(sec_fetch_site, "same-origin") != 0 &&
        strcasecmp(sec_fetch_site, "none") != 0) {
        return true;
    }
    if (!origin) {
        return false;
    }
    const char *scheme_end = strstr(origin, "://");
    bool web = scheme_end &&
               (strncasecmp(origin, "http://", 7) == 0 || strncasecmp(origin, "https://", 8) == 0);
    return !web || !host || strcasecmp(scheme_end + 3, host) != 0;
}
