#!/bin/sh
# Run the tests of the page: tests/ui/run.sh [word ...].  Without npm or chromium they are skipped.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
ui=$here/../../ui
skip() {
    echo "skipped: $1"
    echo "0 passed, 0 failed"
    exit 0
}
command -v npm >/dev/null 2>&1 && command -v node >/dev/null 2>&1 || skip "no npm here"
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || skip "no chromium here"
"$ui/install.sh" "$ui" && "$ui/install.sh" "$here" || skip "npm ci failed"
(cd "$ui" && npx --no-install tsc --noEmit)
cd "$here" && exec node run.mjs "$@"
