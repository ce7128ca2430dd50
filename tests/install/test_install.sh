#!/bin/sh
# The installed copy: what is where, what the library exports, and a program of somebody else's that is built against it
# through pkg-config and through the CMake package, and run.
#   test_install.sh BUILD SOURCE
set -u
build=$1
source=$2
where=${TMPDIR:-/tmp}
[ -w /dev/shm ] && where=/dev/shm
tmp=$(mktemp -d "$where/alignpro-install-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
failed=0

check() { # check TEXT COMMAND…
    text=$1
    shift
    "$@" >"$tmp/log" 2>&1 && return
    failed=$((failed + 1))
    echo "FAILED: $text"
    tail -20 "$tmp/log"
}

check "install" cmake --install "$build" --prefix "$tmp/first"
mv "$tmp/first" "$tmp/usr" # nothing in it may remember where it was installed
library=$(find "$tmp/usr" -name libalignpro.so)
library=${library%/*}
for file in bin/alignpro include/alignpro/run.h share/man/man1/alignpro.1 share/man/man5/alignpro-recipe.5 \
    share/bash-completion/completions/alignpro share/doc/alignpro/examples/embed/rewriter.c; do
    check "$file is installed" test -s "$tmp/usr/$file"
done

check "the program runs" "$tmp/usr/bin/alignpro" --version
check "the manual has every command" sh -c "'$tmp/usr/bin/alignpro' help | sed -n 's/^  \([a-z]*\)  .*/\1/p' |
    while read -r name; do grep -qx \".B \$name\" '$tmp/usr/share/man/man1/alignpro.1' || exit 1; done"
check "the manual has recipe keys" grep -qx '.B align.kl' "$tmp/usr/share/man/man5/alignpro-recipe.5"
if command -v man >/dev/null && command -v groff >/dev/null; then
    for page in man1/alignpro.1 man5/alignpro-recipe.5; do
        check "$page is a clean page" sh -c "LC_ALL=C.UTF-8 man --warnings -l '$tmp/usr/share/man/$page' 2>&1 >/dev/null | grep . && exit 1 || exit 0"
    done
fi
if command -v bash >/dev/null; then
    check "completion of a command, an option, a key" bash -c '
        PATH='"$tmp"'/usr/bin:$PATH; . '"$tmp"'/usr/share/bash-completion/completions/alignpro
        complete_of() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _alignpro alignpro "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"; echo "${COMPREPLY[*]}"; }
        [ "$(complete_of alignpro gen)" = generate ] && [ "$(complete_of alignpro generate --adap)" = --adapter ] &&
        [ "$(complete_of alignpro run r.yaml --set align.kl_st)" = align.kl_stop= ]'
fi

# the library exports what its headers declare, and nothing else
nm -D --defined-only "$library/libalignpro.so" | sed -n 's/^[0-9a-f]* [A-Z] //p' | sort >"$tmp/exported"
cat "$tmp"/usr/include/alignpro/*.h | tr '\n' ' ' | grep -o '\bap_[a-z_0-9]* *([^()]*)[^;(]*;' |
    sed 's/ *(.*//' | sort -u >"$tmp/declared"
check "exported is declared" diff "$tmp/exported" "$tmp/declared"

export PKG_CONFIG_PATH="$library/pkgconfig" LD_LIBRARY_PATH="$library"
# shellcheck disable=SC2046 # a list of words
check "built through pkg-config" cc -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror "$source/examples/embed/rewriter.c" \
    -o "$tmp/rewriter" $(pkg-config --cflags --libs alignpro)
check "configured through CMake" cmake -S "$tmp/usr/share/doc/alignpro/examples/embed" -B "$tmp/cmake" \
    -DCMAKE_PREFIX_PATH="$tmp/usr"
check "built through CMake" cmake --build "$tmp/cmake"
for header in "$tmp"/usr/include/alignpro/*.h; do
    check "$(basename "$header") stands alone in C++" c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only \
        -I"$tmp/usr/include" -x c++ "$header"
done

cat >"$tmp/model.json" <<'END'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 600, "hidden_size": 32,
 "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
 "intermediate_size": 48, "hidden_act": "silu", "max_position_embeddings": 128, "rope_theta": 10000.0,
 "rms_norm_eps": 1e-05, "initializer_range": 0.1, "tie_word_embeddings": true, "bos_token_id": 0,
 "eos_token_id": 1, "torch_dtype": "float32"}
END
for i in 1 2 3 4 5 6 7 8; do
    echo "{\"prompt\": \"fox $i\", \"rewrite\": \"the fox\"}" >>"$tmp/rewrites.jsonl"
done
cat >"$tmp/recipe.yaml" <<END
models:
  m: {config: model.json, init: random, tokenizer: $source/examples/demo}
prompter: {model: m, adapter: {rank: 2}, meta_prompt: "{prompt}", max_new_tokens: 8}
target: {model: m, max_new_tokens: 8}
reward: {rule: length, length: 20}
data: {path: rewrites.jsonl, split: {train: 0.5, valid: 0.1, test: 0.4}}
sft: {source: file, path: rewrites.jsonl, epochs: 1, batch: 8}
align: {steps: 1, prompts: 2, rewrites: 2}
eval: {arms: [bare, align], bootstrap: 100}
END
for program in "$tmp/rewriter" "$tmp/cmake/rewriter"; do
    printf 'fox 1\nfox 2\n' >"$tmp/prompts"
    check "the embedding program trains and rewrites" sh -c "'$program' '$tmp/recipe.yaml' run.dir='$tmp/run' \
        <'$tmp/prompts' >'$tmp/out' && [ \$(wc -l <'$tmp/out') = 2 ]"
    check "and says what is wrong" sh -c "! '$program' '$tmp/none.yaml' 2>'$tmp/err' && grep -q 'none.yaml' '$tmp/err'"
done

[ "$failed" = 0 ] || exit 1
