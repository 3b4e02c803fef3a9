#!/bin/sh
# Install a folder's npm packages from its lock file, once for each lock file: ui/install.sh FOLDER [--omit=dev]
# No script of a package is run. What was installed with everything is good for --omit=dev, too.
set -eu
cd "$1"
have=node_modules/.installed
want=$(cksum <package-lock.json)
[ -f "$have" ] && case "$(cat "$have")" in "$want" | "$want ${2:-}") exit 0 ;; esac
log=$(mktemp)
if npm ci --fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=2000 --ignore-scripts --no-audit --no-fund --prefer-offline ${2:+"$2"} >"$log" 2>&1; then
    echo "$want${2:+ $2}" >"$have"
    rm -f "$log"
else
    tail -n 5 "$log" >&2
    rm -f "$log"
    exit 1
fi
