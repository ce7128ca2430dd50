# The page of `alignpro serve` in a headless Chromium (page_test.py), with ALIGNPRO_TEST_FULL only.
#   test_page.sh ALIGNPRO          from the source folder
set -u
alignpro=$1
. tests/cli/checks.sh
: "${PYTHON:=python3}"
[ -n "${ALIGNPRO_TEST_FULL-}" ] || exit 0
command -v "$PYTHON" >/dev/null || { echo "SKIP: test_page: no $PYTHON"; exit 0; }
chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}
[ -n "$chromium" ] || { echo "SKIP: test_page: no chromium (or set CHROMIUM)"; exit 0; }

tiny_model model.json 2
tiny_pairs 24
cat >"$tmp/recipe.yaml" <<END
models: {m: {config: model.json, init: random, tokenizer: $source/examples/demo}}
prompter: {model: m, adapter: none, meta_prompt: "{prompt}", max_new_tokens: 8}
target: {model: m, adapter: none, max_new_tokens: 12}
reward: {rule: length, length: 20}
data: {path: pairs.jsonl, split: {train: 0.5, valid: 0, test: 0.5}}
sft: {source: file, path: rewrites.jsonl, epochs: 40, batch: 8, lr: 1e-2}
guard: {protect: [code]}
eval: {arms: [bare, sft], bootstrap: 50}
run: {dir: run, threads: 1}
END
try "$alignpro" run "$tmp/recipe.yaml"
exits 0 "a run to serve"
"$PYTHON" tests/serve/page_test.py --alignpro "$alignpro" --chromium "$chromium" --run "$tmp/run" --folder "$tmp"
