# Includes run downwards only: awk -f tools/check_layers.awk tools/layers.txt FILES...
# Fails with one line per include that tools/layers.txt does not allow.
FNR == NR {
    if ($0 ~ /^#/ || NF == 0) next
    if ($1 == "public") { owner = $2; for (i = 3; i <= NF; i++) public_header[$i] = owner; has_public[owner] = 1; next }
    if ($1 == "pure") { for (i = 2; i <= NF; i++) pure[$i] = 1; next }
    from = $1; sub(/:$/, "", from); known[from] = 1
    for (i = 2; i <= NF; i++) allowed[from, $i] = 1
    next
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    path = $0; sub(/^[^"]*"/, "", path); sub(/".*/, "", path)
    split(FILENAME, f, "/"); split(path, t, "/"); from = f[1]; to = t[1]
    if (!(from in known)) next
    files[FILENAME] = 1; seen++
    if (path !~ /\//) { complain("names no folder"); next }
    if (!(to in known)) { complain("unknown folder"); next }
    if (from != to && !((from, to) in allowed)) complain("upward or sideways")
    if (path ~ /_private\.h$/ && from != to) complain("private header of another folder")
    if (from != to && (to in has_public) && !(path in public_header)) complain("only the public headers of " to "/ may be included here")
    if ((FILENAME in pure) && to != "base" && to != "model" && path !~ /^ingest\//) complain("a decoder includes base and model only")
}
function complain(why) { printf "%s:%d: \"%s\": %s\n", FILENAME, FNR, path, why; bad++ }
END {
    if (seen == 0) { print "layers: no includes seen"; exit 1 }
    if (bad) { printf "layers: %d includes break the layers\n", bad; exit 1 }
    printf "layers: %d includes run downwards\n", seen
}
