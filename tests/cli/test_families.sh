#!/bin/sh
# Every family, in both spellings of config.json, in every role, on every preference schema: sft, reward, align and
# eval of a recipe, all of it tiny.
#   test_families.sh ALIGNPRO SOURCE_DIR
set -u
alignpro=$1 source=$2
tmp=$(mktemp -d "${TMPDIR:-/tmp}/alignpro-families-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=2
failed=0 passed=0

common='"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
 "num_key_value_heads": 2, "vocab_size": 600, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "hidden_act": "silu",
 "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 1'
new='"dtype": "float32", "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0'
old='"torch_dtype": "float32", "rope_theta": 10000.0, "rope_scaling": null'
config() { # NAME TYPE CLASS REST
    mkdir -p "$tmp/$1"
    cp "$source/examples/demo/tokenizer.json" "$source/examples/demo/tokenizer_config.json" "$tmp/$1"
    echo "{\"model_type\": \"$2\", \"architectures\": [\"$3ForCausalLM\"], $common, $4}" >"$tmp/$1/config.json"
}
config llama_new llama Llama "$new}"
config llama_old llama Llama "$old"
config qwen2_new qwen2 Qwen2 "$new}, \"use_sliding_window\": false"
config qwen2_old qwen2 Qwen2 "$old, \"use_sliding_window\": false"
config phi3_new phi3 Phi3 "$new, \"partial_rotary_factor\": 1.0}, \"original_max_position_embeddings\": 256, \"sliding_window\": null"
config phi3_old phi3 Phi3 "$old, \"original_max_position_embeddings\": 256, \"sliding_window\": 16"

for i in $(seq 24); do
    good="The fox number $i eats fish." bad="Fun $i."
    user="{\"role\": \"user\", \"content\": \"fox $i food\"}"
    echo "{\"prompt\": \"fox $i food\", \"chosen\": [$user, {\"role\": \"assistant\", \"content\": \"$good\"}]," \
        "\"rejected\": [$user, {\"role\": \"assistant\", \"content\": \"$bad\"}], \"score_chosen\": 8.0," \
        "\"score_rejected\": $((i % 5 + 4))}" >>"$tmp/ultrafeedback.jsonl"
    for score in 1 3; do
        [ $score = 3 ] && text=$good || text=$bad
        echo "{\"prompt\": \"fox $i food\", \"response\": \"$text\", \"helpfulness\": $score, \"correctness\": 2," \
            "\"coherence\": 2, \"complexity\": 1, \"verbosity\": 1}" >>"$tmp/helpsteer.jsonl"
    done
    echo "{\"system\": \"Be kind.\", \"question\": \"fox $i food\", \"chosen\": \"$good\", \"rejected\": \"$bad\"}" >>"$tmp/orca.jsonl"
done

stages() { # DATA PROMPTER TARGET REWARD ALGORITHM
    cat >"$tmp/$1.yaml" <<RECIPE
models:
  small: {config: $2/config.json, init: random}
  big:   {config: $3/config.json, init: random}
  judge: {config: $4/config.json, init: random}
prompter: {model: small, adapter: {rank: 2}, max_new_tokens: 4}
target:   {model: big, max_new_tokens: 4}
reward:   {model: judge, kind: classifier, adapter: {rank: 2}}
data:     {path: $1.jsonl, split: {train: 0.5, valid: 0.2, test: 0.3}}
sft:      {source: best-of-n, n: 2, prompts: 4, epochs: 1, batch: 4}
reward_train: {epochs: 1, batch: 8}
align:    {algorithm: $5, prompts: 2, rewrites: 2, steps: 2}
eval:     {arms: [bare, instruct, sft, align], seeds: [1]}
run:      {dir: run-$1, seed: 1}
RECIPE
    "$alignpro" run "$tmp/$1.yaml" >"$tmp/out" 2>&1
    code=$?
    for stage in sft reward align eval; do [ -f "$tmp/run-$1/$stage/DONE" ] || code="$code, no $stage/DONE"; done
    [ "$code" = 0 ] && grep -q '"align"' "$tmp/run-$1/eval.json" || code="$code, no align in eval.json"
    if [ "$code" = 0 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: $1 with $2, $3, $4: $code"
        tail -5 "$tmp/out"
    fi
}
stages ultrafeedback llama_new qwen2_old phi3_new rloo
stages helpsteer qwen2_new phi3_old llama_old ppo
stages orca phi3_new llama_old qwen2_new rloo

echo "$passed passed, $failed failed"
[ $failed = 0 ]
