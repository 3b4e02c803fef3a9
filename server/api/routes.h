/* The route table, and what http.c calls. */
#ifndef SERVER_API_ROUTES_H
#define SERVER_API_ROUTES_H

#include "server/http/http.h"

extern const struct http_handlers server_handlers_template; /* .arg to be set to the server */

#endif
