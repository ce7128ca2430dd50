#!/bin/sh
# Run every fuzz entry of tests/fuzz for a while: fuzz_smoke.sh [RUNS] (default 100000 executions each). Needs clang with
# libFuzzer; says so and passes without. An entry names what it links in a line "fuzz: LAYER or LAYER/FILE...", base always;
# one that is slow says "At most N executions". Words that help stand in ENTRY.dict beside it.
set -u
cd "$(dirname "$0")/.." || exit 1
runs=${1:-100000}
out=build-fuzz
mkdir -p "$out"

if ! command -v clang >/dev/null || ! echo 'int LLVMFuzzerTestOneInput(const char*d,long n){(void)d;(void)n;return 0;}' |
    clang -x c -fsanitize=fuzzer - -o "$out/probe" 2>/dev/null; then
    echo "SKIP: no clang with libFuzzer (apt-get install clang libclang-rt-14-dev)"
    echo "0 passed, 0 failed"
    exit 0
fi

sources() { # the files of the layers that an entry needs and that link without the tensor layer
    for layer in base $(sed -n 's/.*fuzz: *\([^*]*\).*$/\1/p' "$1"); do
        case $layer in
        model) ls src/model/safetensors*.c src/model/gguf.c src/model/gguf_type.c src/model/config*.c src/model/adapter_plan.c src/model/adapter_match.c src/model/adapter_config.c src/model/module.c src/model/param.c src/tensor/dtype.c ;;
        serve) ls src/serve/*.c "$out/page_files.c" ;;
        */*) ls src/"$layer".c ;;
        *) ls src/"$layer"/*.c ;;
        esac
    done | sort -u
}

flags="-DAP_VERSION=\"fuzz\" -std=gnu17 -D_GNU_SOURCE -g -O1 -Isrc -Iinclude -Itests -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all"
case $(uname -m) in x86_64) flags="$flags -mavx2 -mfma -mf16c" ;; esac
libraries=$(pkg-config --cflags --libs jansson libfyaml libpcre2-8 libutf8proc sqlite3 zlib libcurl libmicrohttpd gnutls cmocka)

cmake -DOUT="$out/page_files.c" -DNAME=page -DHEADER=serve/page_files.h \
    "-DFILES=src/serve/page.html;src/serve/page.css;src/serve/page.js" -P cmake/embed.cmake || exit 1

passed=0
failed=0
for entry in tests/fuzz/fuzz_*.c; do
    name=$(basename "$entry" .c)
    corpus=$out/corpus-$name
    mkdir -p "$corpus"
    # shellcheck disable=SC2046,SC2086 # lists of words
    if ! clang $flags "$entry" $(sources "$entry") -o "$out/$name" $libraries -lm 2>"$out/$name.log"; then
        cat "$out/$name.log"
        failed=$((failed + 1))
        continue
    fi
    seeds=""
    [ -d "tests/fuzz/seeds/$name" ] && seeds="tests/fuzz/seeds/$name"
    words=""
    [ -f "tests/fuzz/$name.dict" ] && words="-dict=../tests/fuzz/$name.dict"
    most=$(sed -n 's/.*At most \([0-9]*\) executions.*/\1/p' "$entry")
    [ -n "$most" ] && [ "$most" -lt "$runs" ] || most=$runs
    # shellcheck disable=SC2086
    if (cd "$out" && ./"$name" $words -runs="$most" -max_len=65536 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
        "../$corpus" ${seeds:+"../$seeds"} >"$name.log" 2>&1); then
        echo "$name: $(sed -n 's/stat::number_of_executed_units: *//p' "$out/$name.log") executions, nothing found"
        passed=$((passed + 1))
    else
        tail -40 "$out/$name.log"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
