/* Who sends a request that changes something: a browser on behalf of a page from elsewhere, or
 * anybody else. Pure. */
#ifndef SERVER_API_ORIGIN_H
#define SERVER_API_ORIGIN_H

#include <stdbool.h>

/* The three headers as sent; NULL: absent. True when a browser says that the page came from another
 * origin than this server: Sec-Fetch-Site is neither same-origin nor none, or Origin is not
 * http(s)://<Host>. Programs send neither header, and are not foreign. */
bool origin_is_foreign(const char *origin, const char *sec_fetch_site, const char *host);

#endif
