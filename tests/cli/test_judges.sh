#!/bin/sh
# Judges that compare, on tiny models of random weights: a good one, one that always says A, nonsense, silence, an early
# death; what the tables say of each; a judge that changes is asked again, others are not.
#   test_judges.sh ALIGNPRO          from the source folder
set -u
alignpro=$1
source=$(pwd)
where=${TMPDIR:-/tmp}
[ -w /dev/shm ] && where=/dev/shm
tmp=$(mktemp -d "$where/alignpro-cli-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
failed=0 passed=0

note() {
    if [ "$1" = 0 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: $2"
        sed 's/^/  out: /' "$tmp/out" | tail -8
        sed 's/^/  err: /' "$tmp/err" | tail -4
    fi
}
run() { # run EXIT NAME JUDGES-YAML SET...
    want=$1 name=$2
    sed "s|@JUDGES@|$3|" "$tmp/recipe.in" >"$tmp/recipe.yaml"
    shift 3
    code=0
    "$alignpro" run "$tmp/recipe.yaml" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || code=$?
    [ "$code" = "$want" ]; note $? "$name: exit code $code, expected $want"
}
out_has() { grep -qF -- "$1" "$tmp/out"; note $? "$2: output without: $1"; }
json() { grep -qF -- "$1" "$tmp/run/eval.json"; note $? "$2: eval.json without: $1"; }

cat >"$tmp/model.json" <<'END'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 600, "hidden_size": 32,
 "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
 "intermediate_size": 48, "hidden_act": "silu", "max_position_embeddings": 128, "rope_theta": 10000.0,
 "rms_norm_eps": 1e-05, "initializer_range": 0.1, "tie_word_embeddings": true, "bos_token_id": 0,
 "eos_token_id": 1, "torch_dtype": "float32"}
END
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    echo "{\"prompt\": \"fox $i\"}" >>"$tmp/prompts.jsonl"
done
cat >"$tmp/recipe.in" <<END
models:
  m: {config: model.json, init: random, tokenizer: $source/examples/demo}
prompter: {model: m, adapter: {rank: 2}, meta_prompt: "{prompt}", max_new_tokens: 8}
target: {model: m, adapter: {rank: 2}, max_new_tokens: 8}
reward: {rule: length, length: 12}
data: {path: prompts.jsonl, split: {train: 0.5, valid: 0, test: 0.5}}
sft: {source: none}
align: {prompts: 2, rewrites: 2, answers: 1, steps: 1}
judges: {j: {@JUDGES@}}
eval: {arms: [bare, align], judges: [reward, j], bootstrap: 50}
run: {dir: run, batch: 8}
END
judge() { # judge FILE REPLY: a program that answers every question so
    cat >"$tmp/$1" <<'END'
while IFS= read -r line; do
    id=$(printf '%s' "$line" | sed 's/^{"id": *\([0-9]*\).*/\1/')
    printf '{"id": %s, "reply": "@REPLY@"}\n' "$id"
done
END
    sed -i "s/@REPLY@/$2/" "$tmp/$1"
}
judge first.sh "Verdict: A"
judge prose.sh "Both are lovely."
judge tie.sh tie

run 0 "a judge that calls everything a tie" "command: [sh, tie.sh]"
out_has "Judge j, Align-Pro against bare: wins 50%" "ties"
out_has "0% contradicted, 0% without verdict" "ties"
json '"judge": "j"' "ties"
grep -qF "Wins over bare, judge by judge" "$tmp/run/report.html"; note $? "the page's table"
run 0 "always the first" "command: [sh, first.sh]"
out_has "contradicts itself on" "always A"
out_has "position decides more than the answers" "always A"
run 0 "nonsense" "command: [sh, prose.sh]"
out_has "no win rate, because" "nonsense"
grep -qF "of the pairs without verdict" "$tmp/run/report.html"; note $? "the page marks the cell"
run 0 "a judge that dies" "command: [sh, -c, 'exit 3']"
out_has "no win rate, because" "a dead judge"
run 0 "silence" "command: [sleep, '30'], timeout: 0.2"
out_has "no win rate, because" "a silent judge"
run 1 "what is no reply" "command: [yes]"
grep -q '^alignpro: .*j' "$tmp/err"; note $? "what is no reply: one line that names it"
run 1 "no command" "timeout: 3"
run 1 "a judge before the scores" "command: [cat]" --set eval.judges=j,reward
cp "$source/examples/judge_shorter.sh" "$tmp/"
run 0 "the example" 'command: [sh, judge_shorter.sh], question: "{a}<\|>{b}"'
out_has "0% contradicted, 0% without verdict" "the example"
run 0 "again a good one" "command: [sh, tie.sh]"
out_has "wins 50%" "asked anew"

echo "$passed checks passed, $failed failed"
[ $failed = 0 ]
