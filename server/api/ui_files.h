/* The files of the page (ui/), compressed and built into the program. The table is generated
 * (ui/build.sh); in a build without the page it is empty.
 * Threads: read-only, any.
 */
#ifndef SERVER_API_UI_FILES_H
#define SERVER_API_UI_FILES_H

#include <stddef.h>
#include <stdint.h>

struct ui_file {
    const char *name;    /* "index.html"; all others have a hash of their content in their name */
    const char *type;    /* Content-Type */
    const char *etag;    /* with its quotes */
    const uint8_t *gzip; /* gzip_bytes of them */
    size_t gzip_bytes;
    size_t bytes; /* unpacked */
};
extern const struct ui_file ui_files[];
extern const size_t ui_file_count;

#endif
