#!/bin/sh
# Make a table of the page's files in C (server/api/ui_files.h).
#   ui/build.sh page OUT.c    the page; where there is no npm, or nothing to install from, an empty table and a word about it
#   ui/build.sh none OUT.c    an empty table
set -eu
what=$1
case $2 in /*) out=$2 ;; *) out=$PWD/$2 ;; esac
folder=$(cd "$(dirname "$0")" && pwd)

none() {
    mkdir -p "$(dirname "$out")"
    cat >"$out" <<'END'
#include "server/api/ui_files.h"
const struct ui_file ui_files[1] = {{0}};
const size_t ui_file_count = 0;
END
}

# The next make tries again: the table is older than everything that it is made of.
without() {
    echo "ui: $1: this build has no page, only its API (UI=0 says that this is wanted)" >&2
    none
    touch -d @0 "$out"
    exit 0
}

if [ "$what" = none ]; then
    none
    exit 0
fi
command -v npm >/dev/null 2>&1 && command -v node >/dev/null 2>&1 || without "no npm here (Debian: apt-get install npm)"
"$folder/install.sh" "$folder" --omit=dev || without "npm ci failed"
cd "$folder" && exec node build.mjs "$out"
