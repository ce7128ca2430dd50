#!/bin/sh
# The memory plan: --dry-run of every example of the paper's pairs with nothing there but config.json, of every stage and of
# the demo; a recipe that does not fit is refused with changes, each of which makes it fit, in the plan and when it runs.
#   test_plan.sh ALIGNPRO SOURCE_DIR [sanitized]
set -u
alignpro=$1 source=$2 sanitized=${3:-}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/alignpro-plan-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=2
failed=0 passed=0

try() { code=0; "$@" >"$tmp/out" 2>"$tmp/err" || code=$?; }
note() {
    if [ "$1" = 0 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: $2"
        sed 's/^/  out: /' "$tmp/out" | tail -9
        sed 's/^/  err: /' "$tmp/err" | tail -3
    fi
}
exits() { [ "$code" = "$1" ]; note $? "$2: exit code $code, expected $1"; }
err_has() { grep -qF -- "$1" "$tmp/err"; note $? "$2: standard error without: $1"; }
stages_are() { # "STAGE ...": the rows of the table
    [ "$(sed -n '2,/^peak/s/^\([a-z-]*\)  .*/\1/p' "$tmp/out" | tr '\n' ' ')" = "$1 " ]; note $? "$2: stages are not $1"
}
whole="reward best-of-n sft align rlhf eval"

# offers: the changes of the refusal, one a line, without their sizes
offers() { sed -n 's/.*; it fits with //p' "$tmp/err" | sed 's/, or with /\n/g' | sed 's/ ([^)]*)$//'; }
# check_offers NAME ARGUMENT...: one to three different changes, each of which fits, and so do all at once
check_offers() {
    name=$1
    shift
    try "$alignpro" run "$@" --dry-run; exits 1 "$name"; err_has "run.memory" "$name"
    offers >"$tmp/offers"
    n=$(wc -l <"$tmp/offers")
    [ "$n" -ge 1 ] && [ "$n" -le 3 ]; note $? "$name: $n changes are offered"
    [ "$(sort -u "$tmp/offers" | wc -l)" = "$n" ]; note $? "$name: a change is offered twice"
    while read -r change; do
        try "$alignpro" run "$@" --dry-run $change; exits 0 "$name: $change"
    done <"$tmp/offers"
    try "$alignpro" run "$@" --dry-run $(tr '\n' ' ' <"$tmp/offers"); exits 0 "$name: all of them"
}
full="--set prompter.adapter.rank=0 --set target.adapter.rank=0 --set reward.adapter.rank=0"

# -- the paper's pairs, on machines of another size than this one --
for name in Phi-3.5-mini-instruct Qwen2.5-1.5B-Instruct Llama-3.1-8B-Instruct; do
    mkdir -p "$tmp/models/$name"
    cp "$source/bench/configs/$(echo "$name" | tr A-Z a-z).json" "$tmp/models/$name/config.json" || exit 1
done
export MODELS="$tmp/models" DATA="$tmp/data"
for recipe in ultrafeedback helpsteer orca; do
    while read -r prompter memory; do
        try "$alignpro" run "$source/examples/paper/$recipe.yaml" --dry-run --set prompter.model=$prompter \
            --set "run.dir=$tmp/paper" --set run.memory=$memory
        exits 0 "$recipe, $prompter in $memory"; stages_are "$whole" "$recipe, $prompter"
    done <<END
phi 62GiB
qwen 31GiB
END
done
check_offers "phi in 48 GiB" "$source/examples/paper/orca.yaml" --set run.memory=48GiB
check_offers "qwen in 24 GiB" "$source/examples/paper/orca.yaml" --set run.memory=24GiB --set prompter.model=qwen
check_offers "full training in 62 GiB" "$source/examples/paper/helpsteer.yaml" --set run.memory=62GiB $full
[ ! -e "$tmp/paper" ]; note $? "a dry run made a run directory"

# -- their runs are where git looks away --
for recipe in "$source"/examples/*.yaml "$source"/examples/paper/*.yaml; do
    case $recipe in */paper/*) up=../../ ;; *) up=../ ;; esac
    grep -q "dir: ${up}runs/" "$recipe"; note $? "the run of $recipe is not in runs/"
done

# -- the demo, whose data are not written yet; every stage with what it needs --
while read -r command rows; do
    try "$alignpro" "$command" "$source/examples/demo/recipe.yaml" --dry-run --set "run.dir=$tmp/demo"
    exits 0 "$command of the demo"; stages_are "$rows" "$command of the demo"
done <<END
run pretrain reward sft align rlhf eval
pretrain pretrain
reward pretrain reward
sft pretrain sft
align pretrain reward sft align
rlhf pretrain reward rlhf
eval pretrain reward sft align rlhf eval
END

# -- what does not fit --
cat >"$tmp/config.json" <<'END'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 600, "hidden_size": 256,
 "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 704,
 "hidden_act": "silu", "max_position_embeddings": 1024, "rope_theta": 10000.0, "rms_norm_eps": 1e-05,
 "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "float32"}
END
i=0
while [ $i -lt 40 ]; do
    echo "{\"prompt\": \"about fox $i, the river and the mill\", \"chosen\": \"Yes $i.\", \"rejected\": \"No.\"}"
    i=$((i + 1))
done >"$tmp/pairs.jsonl"
cat >"$tmp/recipe.yaml" <<END
models:
  small: {config: config.json, init: random, tokenizer: "$source/examples/demo"}
  big:   {config: config.json, init: random, tokenizer: "$source/examples/demo"}
prompter: {model: small, adapter: none, meta_prompt: "{prompt}", max_new_tokens: 4}
target:   {model: big, adapter: none, max_new_tokens: 4}
reward:   {model: small, adapter: none}
data:     {path: pairs.jsonl, split: {train: 0.6, valid: 0.1, test: 0.3}}
sft:      {source: best-of-n, n: 2, prompts: 4, epochs: 1}
reward_train: {epochs: 1}
align:    {prompts: 2, rewrites: 2, answers: 1, steps: 1}
rlhf:     {}
eval:     {arms: [bare, sft, align, rlhf], prompts: 2, bootstrap: 10}
run:      {dir: run, batch: 32}
END
try "$alignpro" run "$tmp/recipe.yaml" --dry-run; exits 0 "without a limit"; stages_are "$whole" "without a limit"
peak_of() { # the largest sum of the table, MiB: the sentence below it may speak of GiB
    awk '/^peak/ { exit } NR > 1 && $NF + 0 > most { most = $NF } END { print most + 0 }' "$tmp/out"
}
peak=$(peak_of)
[ "${peak:-0}" -gt 400 ]; note $? "the recipe is too small for this test: $peak MiB"

for share in 95 80 60 45 35; do
    check_offers "$share%" "$tmp/recipe.yaml" --set run.memory=$((peak * share / 100))MiB
done
# checkpointing is offered where activations are what is too much, and is counted when it is set
lean="--set reward.adapter.rank=8 --set run.dtype=bf16 --set reward_train.batch_tokens=2048"
try "$alignpro" reward "$tmp/recipe.yaml" --dry-run $lean; exits 0 "a lean reward"
lean="$lean --set run.memory=$(($(peak_of) * 9 / 10))MiB"
try "$alignpro" reward "$tmp/recipe.yaml" --dry-run $lean; exits 1 "a lean reward that does not fit"
offers >"$tmp/offers"
grep -qx -- "--set reward_train.gradient_checkpointing=true" "$tmp/offers"; note $? "checkpointing is not offered"
while read -r change; do
    try "$alignpro" reward "$tmp/recipe.yaml" --dry-run $lean $change; exits 0 "a lean reward: $change"
done <"$tmp/offers"

try "$alignpro" run "$tmp/recipe.yaml" --dry-run --set run.memory=20MiB; exits 1 "20 MiB"
err_has "no change of batch sizes, checkpointing, context, dtype or adapters makes it fit" "20 MiB"

# -- a refused run leaves no directory, and the first change that is offered for it runs within the limit --
limit="--set run.memory=$((peak * 60 / 100))MiB"
try "$alignpro" run "$tmp/recipe.yaml" $limit; exits 1 "a run that does not fit"
[ ! -e "$tmp/run" ]; note $? "a refused run made its directory"
change=$(offers | head -1)
try "$alignpro" run "$tmp/recipe.yaml" $limit $change; exits 0 "a run with $change"
[ -z "$sanitized" ] || echo "SKIP: a sanitizer's own memory is in no plan"
for stage in reward sft align rlhf eval; do
    [ -z "$sanitized" ] || continue
    most=$(sed -n 's/.*"peak": \([0-9]*\).*/\1/p' "$tmp/run/$stage/memory.json")
    [ "${most:-0}" -gt 0 ] && [ $((most / 1048576)) -le $((peak * 63 / 100)) ]
    note $? "$stage took $((most / 1048576)) MiB of $((peak * 60 / 100))"
done
try "$alignpro" run "$tmp/recipe.yaml" $limit $change --dry-run; exits 0 "a plan of what is done"
grep -q "every stage is done" "$tmp/out"; note $? "a plan of what is done still has stages"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
