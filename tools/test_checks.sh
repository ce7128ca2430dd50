#!/bin/sh
# Proves that check_layers.sh and check_sizes.sh can fail: each breach is planted in a tree of its own.
set -eu
tools=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
n_failed=0

fresh() {
    rm -rf "$tree"
    mkdir -p "$tree/src/base" "$tree/src/gen" "$tree/src/train" "$tree/src/tensor/cpu" "$tree/cli" "$tree/tools"
    printf '#include "alignpro/error.h"\n#include <stdio.h>\n' >"$tree/src/base/one.c"
    printf '#include "base/one.h"\n#include "gen/two.h"\n#include "two_own.h"\n' >"$tree/src/gen/two.c"
    printf '#include "alignpro/run.h"\n#include "cli_args.h"\n' >"$tree/cli/main.c"
    : >"$tree/tools/size_exceptions.txt"
}

# expect STATUS PART SCRIPT: the script on the tree ends so and says PART.
expect() {
    got=0
    out=$("$tools/$3" "$tree" 2>&1) || got=$?
    case $out in
    *"$2"*) ;;
    *) got="$got without the words" ;;
    esac
    if [ "$got" != "$1" ]; then
        printf 'FAIL %s: status %s, expected %s and "%s":\n%s\n' "$3" "$got" "$1" "$2" "$out"
        n_failed=$((n_failed + 1))
    fi
}

# body N: a function of N lines
body() {
    printf 'static int\nlong_one(int a,\n         int b)\n{\n'
    i=5
    while [ "$i" -lt "$1" ]; do
        echo '    a += b;'
        i=$((i + 1))
    done
    printf '}\n'
}

fresh && expect 0 "3 files, 0 breaches" check_layers.sh
fresh && echo '#include "train/x.h"' >>"$tree/src/gen/two.c" && expect 1 "src/gen/two.c:4: gen includes" check_layers.sh
fresh && echo '#  include "gen/two.h"' >>"$tree/src/base/one.c" && expect 1 "base includes" check_layers.sh
fresh && echo '#include <gen/two.h>' >>"$tree/src/base/one.c" && expect 1 "base includes" check_layers.sh
fresh && echo '#include "../gen/two.h"' >>"$tree/src/base/one.c" && expect 1 "a path from src/" check_layers.sh
fresh && echo '#include "extra/two.h"' >>"$tree/src/base/one.c" && expect 1 "is no layer" check_layers.sh
fresh && echo '#include "base/one.h"' >>"$tree/cli/main.c" && expect 1 "expected only alignpro" check_layers.sh
fresh && echo >"$tree/src/gen/one.c" && expect 1 "has the name of src/base/one.c" check_layers.sh
fresh && mkdir "$tree/src/new" && echo >"$tree/src/new/x.c" && expect 1 "lies in no layer" check_layers.sh

fresh && body 100 >"$tree/src/gen/a.c" && expect 0 "note src/gen/a.c:long_one: function of 100" check_sizes.sh
fresh && body 101 >"$tree/src/gen/a.c" && expect 1 "src/gen/a.c:long_one: function of 101" check_sizes.sh
fresh && body 120 >"$tree/src/tensor/cpu/a.c" && expect 0 "longest 120" check_sizes.sh
fresh && body 121 >"$tree/src/tensor/cpu/a.c" && expect 1 "at most 120" check_sizes.sh
fresh && body 101 >"$tree/src/gen/a.c" && echo "src/gen/a.c:long_one 101 a table" >"$tree/tools/size_exceptions.txt" &&
    expect 0 "longest 101" check_sizes.sh
body 102 >"$tree/src/gen/a.c" && expect 1 "its exception allows 101" check_sizes.sh
body 9 >"$tree/src/gen/a.c" && expect 1 "is within the limits" check_sizes.sh
fresh && yes | head -801 >"$tree/src/gen/a.h" && expect 1 "file of 801 lines" check_sizes.sh
fresh && yes | head -700 >"$tree/src/gen/a.h" && expect 0 "note src/gen/a.h: file of 700" check_sizes.sh
fresh && echo "src/gen/a.c 900" >"$tree/tools/size_exceptions.txt" && expect 1 "PATH LINES REASON" check_sizes.sh

[ "$n_failed" -eq 0 ] && echo "test_checks: all as expected"
[ "$n_failed" -eq 0 ]
