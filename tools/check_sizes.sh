#!/bin/sh
# Lengths of files and functions. Reported: files over 600 lines, functions over 60, the number of lines over 100 columns.
# Failing: files over 800, functions over 100 (kernels in src/tensor/cpu and cuda: 120), unless they stand in
# tools/size_exceptions.txt with at least that length; and an exception that is no longer one.
# A function is what clang-format makes of it: "{" and "}" alone in the first column.
# Usage: tools/check_sizes.sh [ROOT]
set -eu
export LC_ALL=C
cd "${1:-$(dirname "$0")/..}"

dirs=
for dir in src cli include bench examples tests; do
    [ -d "$dir" ] && dirs="$dirs $dir"
done

# The lengths of functions outside tests go through sort for their quantiles.
lengths=$(mktemp)
trap 'rm -f "$lengths"' EXIT

status=0
# shellcheck disable=SC2086
find $dirs -type f \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' \) | sort |
    awk -v lengths="$lengths" '
function read_exceptions(text, part) {
    while ((getline text < "tools/size_exceptions.txt") > 0) {
        if (text ~ /^#/ || split(text, part, /[ \t]+/) < 2)
            continue
        if (part[2] !~ /^[0-9]+$/ || part[3] == "")
            problem("tools/size_exceptions.txt: \"" text "\", expected PATH LINES REASON")
        allowed[part[1]] = part[2] + 0
    }
}
function problem(text) {
    print "FAIL " text
    n_problems++
}
function judge(key, what, n, note, most) {
    if (n > most && key in allowed) {
        needed[key] = 1
        if (n > allowed[key])
            problem(key ": " what " of " n " lines, its exception allows " allowed[key])
    } else if (n > most) {
        problem(key ": " what " of " n " lines, at most " most "; split it")
    } else if (n > note) {
        print "note " key ": " what " of " n " lines"
    }
}
function name_of(signature) {
    if (!match(signature, /[A-Za-z_][A-Za-z0-9_]*[ \t]*\(/))
        return "?"
    signature = substr(signature, RSTART, RLENGTH - 1)
    sub(/[ \t]+$/, "", signature)
    return signature
}
function scan(file, number, text, start, signature, inside, kernel) {
    kernel = file ~ /^src\/tensor\/(cpu|cuda)\//
    while ((getline text < file) > 0) {
        number++
        plain = text
        gsub(/[\200-\277]/, "", plain) # count characters, not bytes
        if (length(plain) > 100) {
            n_wide++
            if (wide[file]++ + 1 > wide[widest])
                widest = file
        }
        if (inside) {
            if (text ~ /^}/) {
                inside = 0
                judge(file ":" name_of(signature), "function", number - start + 1, 60,
                      kernel ? 120 : 100)
                if (file !~ /^tests\//)
                    print number - start + 1 > lengths
                signature = ""
            }
        } else if (text ~ /^{[ \t]*$/) {
            inside = 1
            if (signature == "")
                start = number
        } else if (text ~ /^[ \t]*$|^#|^}|;[ \t]*$|\*\/[ \t]*$|^\/[*\/]|\\$/) {
            signature = ""
        } else {
            if (signature == "")
                start = number
            signature = signature " " text
        }
    }
    close(file)
    judge(file, "file", number + 0, 600, 800)
    if (number > longest) {
        longest = number
        longest_file = file
    }
    n_lines += number
}
BEGIN {
    read_exceptions()
}
{
    n_files++
    scan($0)
}
END {
    for (key in allowed)
        if (!(key in needed))
            problem(key ": is within the limits; remove it from tools/size_exceptions.txt")
    printf "check_sizes: %d files, %d lines, the longest %d (%s)\n", n_files, n_lines, longest, longest_file
    if (n_wide)
        printf "check_sizes: %d lines over 100 columns, most of them (%d) in %s\n", n_wide, wide[widest], widest
    exit n_problems > 0
}' || status=1

sort -n "$lengths" | awk '
{ n[NR] = $1 }
END {
    if (NR)
        printf "check_sizes: %d functions outside tests, median %d lines (aim 15), 95%% within %d (aim 60), longest %d\n",
            NR, n[int((NR + 1) / 2)], n[int(NR * 0.95 + 0.999)], n[NR]
}'
exit $status
