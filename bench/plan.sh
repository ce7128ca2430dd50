#!/bin/sh
# The memory plan against what is measured: recipes of random models that run for a step or two, one table.
#
#   bench/plan.sh BUILD [CASE]...        all cases without a name; `bench/plan.sh BUILD list` names them
#
# A stage's peak is the kernel's (VmHWM) where it is a new one for the process, else what a look every few
# milliseconds has seen. Exit code 1 when a figure is off by more than 5%.
set -u
build=$(realpath "${1:?usage: bench/plan.sh BUILD [CASE]...}")
shift
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# config FILE TYPE CLASS WIDTH LAYERS HEADS KV-HEADS FFN TIED [MORE]
# the vocabulary is that of the demo's tokenizer: a random model writes every id that it has
config() {
    printf '{"architectures": ["%sForCausalLM"], "model_type": "%s", "vocab_size": 600,
 "hidden_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d, "num_key_value_heads": %d,
 "intermediate_size": %d, "hidden_act": "silu", "max_position_embeddings": 2048, "rope_theta": 10000.0,
 "rms_norm_eps": 1e-05, "initializer_range": 0.02, "tie_word_embeddings": %s, "bos_token_id": 0,
 "eos_token_id": 1, "torch_dtype": "float32"%s}\n' "$3" "$2" "$4" "$5" "$6" "$7" "$8" "$9" "${10:-}" >"$work/$1"
}

config 19m.json llama Llama 384 12 6 2 1024 true
config 63m.json llama Llama 640 14 10 5 1728 false
config 172m.json llama Llama 1024 16 16 4 2816 false
config 19m-qwen2.json qwen2 Qwen2 384 12 6 2 1024 true ', "use_sliding_window": false'
config 63m-phi3.json phi3 Phi3 640 14 10 5 1728 false ', "original_max_position_embeddings": 2048, "sliding_window": 256'

awk 'BEGIN {
    for (i = 0; i < 16; i++) {
        words = ""
        for (k = 0; k < 4 + i % 6; k++)
            words = words " the river near the old mill runs"
        printf "{\"prompt\": \"about %d:%s\", \"chosen\": \"Yes.%s\", \"rejected\": \"No %d\"}\n", i, words, words, i
    }
}' >"$work/pairs.jsonl"
sed 's/"chosen"/"rewrite"/; s/, "rejected.*/}/' "$work/pairs.jsonl" >"$work/rewrites.jsonl"
sed 's/"chosen"/"response"/; s/, "rejected.*/}/' "$work/pairs.jsonl" >"$work/corpus.jsonl"

cat >"$work/recipe.yaml" <<YAML
models:
  small: {config: 19m.json, init: random, tokenizer: $PWD/examples/demo}
  big: {config: 63m.json, init: random, tokenizer: $PWD/examples/demo}
prompter: {model: small, adapter: {rank: 16}, meta_prompt: "{prompt}", max_new_tokens: 16}
target: {model: big, adapter: {rank: 16}, max_new_tokens: 16}
reward: {model: small, adapter: {rank: 16}}
data: {path: pairs.jsonl, too_long: truncate, split: {train: 0.6, valid: 0.1, test: 0.3}}
sft: {source: file, path: rewrites.jsonl, epochs: 1, batch: 32, batch_tokens: 512}
reward_train: {epochs: 1, batch: 32, batch_tokens: 512}
align: {prompts: 2, rewrites: 2, answers: 1, steps: 1, batch_tokens: 512}
rlhf: {steps: 1}
eval: {arms: [bare, sft, align, rlhf], prompts: 2, bootstrap: 10}
run: {dir: run, batch: 8, context: 384}
YAML

# case NAME [--set …]: one row a stage
case_of() {
    name=$1
    shift
    rm -rf "$work/run"
    "$build/alignpro" run "$work/recipe.yaml" "$@" >"$work/out" 2>"$work/log" ||
        { printf '%-22s failed: %s\n' "$name" "$(tail -1 "$work/log")"; echo bad >"$work/bad"; return; }
    for file in "$work"/run/*/memory.json; do
        stage=$(basename "$(dirname "$file")")
        awk -v name="$name" -v stage="$stage" -F'[:,}]' '{
            error = 100 * ($2 / $4 - 1)
            printf "%-22s %-9s %10.1f %10.1f %+7.1f%%\n", name, stage, $2 / 1048576, $4 / 1048576, error
            exit error > 5 || error < -5
        }' "$file" || echo bad >"$work/bad"
    done
}

full="--set prompter.adapter.rank=0 --set target.adapter.rank=0 --set reward.adapter.rank=0"
checkpoint="--set sft.gradient_checkpointing=true --set reward_train.gradient_checkpointing=true
 --set align.gradient_checkpointing=true"
families="--set models.small.config=$work/19m-qwen2.json --set models.big.config=$work/63m-phi3.json"
run_case() {
    case $1 in
    lora) case_of lora ;;
    full) case_of full $full ;;
    implicit) case_of implicit --set reward.kind=implicit ;;
    implicit-full) case_of implicit-full --set reward.kind=implicit $full ;;
    ppo) case_of ppo --set align.algorithm=ppo ;;
    best-of-n) case_of best-of-n --set sft.source=best-of-n --set sft.path= --set sft.n=2 --set sft.prompts=2 ;;
    pretrain) case_of pretrain --set pretrain.model=big --set "pretrain.path=$work/corpus.jsonl" \
        --set pretrain.batch_tokens=512 ;;
    rule) case_of rule --set reward.model= --set reward.adapter.rank=0 --set reward.rule=length --set reward.length=40 ;;
    172m) case_of 172m --set "models.big.config=$work/172m.json" --set eval.arms=bare,align ;;
    checkpoint) case_of checkpoint $checkpoint ;;
    checkpoint-full) case_of checkpoint-full $checkpoint $full ;;
    bf16) case_of bf16 --set run.dtype=bf16 ;;
    bf16-full) case_of bf16-full --set run.dtype=bf16 $full ;;
    families) case_of families $families --set align.algorithm=ppo ;;
    families-bf16) case_of families-bf16 $families --set run.dtype=bf16 $checkpoint ;;
    *) echo "bench/plan.sh: no case '$1', expected one of: $cases" >&2; exit 2 ;;
    esac
}

cases="lora full implicit implicit-full ppo best-of-n pretrain rule 172m checkpoint checkpoint-full bf16
 bf16-full families families-bf16"
[ "${1:-}" != list ] || { echo "$cases"; exit 0; }
[ $# -gt 0 ] || set -- $cases
printf '%-22s %-9s %10s %10s %8s\n' case stage "plan, MiB" measured error
for name in "$@"; do
    run_case "$name"
done
[ ! -e "$work/bad" ]
