# Includes run downwards only: awk -f tools/check_layers.awk tools/layers.txt FILES...
# Fails with one line per include that tools/layers.txt does not allow.
FNR == NR {
    if ($0 ~ /^#/ || NF == 0) next
    if ($1 == "public") { has_public[$2] = 1; for (i = 3; i <= NF; i++) public_header[$i] = 1; next }
    if ($1 == "pure") { for (i = 2; i <= NF; i++) pure[$i] = 1; next }
    from = $1; sub(/:$/, "", from); known[from] = 1
    for (i = 2; i <= NF; i++) allowed[from, $i] = 1
    next
}
# The longest room that the path begins with; "" for none.
function room_of(path,    n, part, i, room, found) {
    n = split(path, part, "/"); room = ""; found = ""
    for (i = 1; i < n; i++) { room = (i == 1) ? part[1] : room "/" part[i]; if (room in known) found = room }
    return found
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    path = $0; sub(/^[^"]*"/, "", path); sub(/".*/, "", path)
    from = room_of(FILENAME); to = room_of(path)
    if (from == "") next
    seen++
    if (path !~ /\//) { complain("names no folder"); next }
    if (to == "") { if (path !~ /\.pb-c\.h$/) complain("unknown folder"); next }
    if (from != to && !((from, to) in allowed)) complain("upward or sideways: " from " may not include " to)
    else if (path ~ /_private\.h$/ && from != to) complain("private header of another room")
    else if (from != to && (to in has_public) && !(path in public_header)) complain("only the public headers of " to "/ may be included here")
    if ((FILENAME in pure) && to != "base" && to != "model" && path !~ /^ingest\//) complain("a decoder includes base and model only")
}
function complain(why) { printf "%s:%d: \"%s\": %s\n", FILENAME, FNR, path, why; bad++ }
END {
    if (seen == 0) { print "layers: no includes seen"; exit 1 }
    if (bad) { printf "layers: %d includes break the layers\n", bad; exit 1 }
    printf "layers: %d includes run downwards\n", seen
}
