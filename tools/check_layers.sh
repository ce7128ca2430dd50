#!/bin/sh
# Includes go one way: a layer includes itself and the layers that stand before it in the table below, siblings
# never meet; cli/, examples/ and include/ know only include/alignpro/; file names under src/ are unique.
# Usage: tools/check_layers.sh [ROOT]. Prints each breach as FILE:LINE; exit status 1 when there is one.
set -eu
export LC_ALL=C
cd "${1:-$(dirname "$0")/..}"

dirs=
for dir in src cli examples include; do
    [ -d "$dir" ] && dirs="$dirs $dir"
done

# shellcheck disable=SC2086
find $dirs -type f \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.inc' \) | sort | awk '
BEGIN {
    n = split("base;tensor;text store world net;model;gen train;align;eval serve;pipeline", line, ";")
    for (i = 1; i <= n; i++) {
        m = split(line[i], layers, " ")
        for (j = 1; j <= m; j++)
            rank[layers[j]] = i
    }
}
function breach(file, number, text) {
    printf "%s:%d: %s\n", file, number, text
    n_breaches++
}
function first_part(path) {
    return index(path, "/") ? substr(path, 1, index(path, "/") - 1) : ""
}
function check_src(file, number, path, layer, other) {
    layer = substr(file, 5)
    layer = first_part(layer)
    other = first_part(path)
    if (path ~ /\.\./)
        breach(file, number, "includes \"" path "\", expected a path from src/")
    else if (other == "alignpro" || other == "")
        return
    else if (!(other in rank))
        breach(file, number, "includes \"" path "\", and " other " is no layer")
    else if (other != layer && rank[other] >= rank[layer])
        breach(file, number, layer " includes \"" path "\", which does not stand above it")
}
function check_outside(file, number, path) {
    if (first_part(path) == "alignpro")
        return
    if (file ~ /^cli\// && path ~ /^cli[A-Za-z0-9_]*\.h$/)
        return
    breach(file, number, "includes \"" path "\", expected only alignpro/...")
}
function check_file(file, number, text, path, quoted) {
    number = 0
    while ((getline text < file) > 0) {
        number++
        if (text !~ /^[ \t]*#[ \t]*include[ \t]*["<]/)
            continue
        quoted = text ~ /include[ \t]*"/
        path = text
        sub(/^[^"<]*["<]/, "", path)
        sub(/[">].*$/, "", path)
        if (!quoted && !(first_part(path) in rank))
            continue
        if (file ~ /^src\//)
            check_src(file, number, path)
        else
            check_outside(file, number, path)
    }
    close(file)
}
{
    n_files++
    if ($0 ~ /^src\//) {
        layer = substr($0, 5)
        layer = first_part(layer)
        if (!(layer in rank))
            breach($0, 1, "lies in no layer")
        name = $0
        sub(/.*\//, "", name)
        if (name in where)
            breach($0, 1, "has the name of " where[name])
        where[name] = $0
    }
    check_file($0)
}
END {
    printf "check_layers: %d files, %d breaches\n", n_files, n_breaches
    exit n_breaches > 0
}'
