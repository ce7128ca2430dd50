#!/bin/sh
# export: every format of a run and of a model, and what is refused; nothing half-written stands under its final name.
#   test_export_command.sh ALIGNPRO MAKE_TINY_MODEL SOURCE_DIR
set -u
alignpro=$1 make_model=$2 source=$3
where=${TMPDIR:-/tmp}
[ -w /dev/shm ] && where=/dev/shm
tmp=$(mktemp -d "$where/alignpro-export-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
failed=0 passed=0

try() {
    code=0
    "$@" >"$tmp/stdout" 2>"$tmp/err" </dev/null || code=$?
}
note() {
    if [ "$1" = 0 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: $2"
        sed 's/^/  err: /' "$tmp/err" | tail -5
    fi
}
exits() { [ "$code" = "$1" ]; note $? "$2: exit code $code, expected $1"; }
err_has() { grep -qF -- "$1" "$tmp/err"; note $? "$2: standard error without: $1"; }
# One line that says so, and nothing is left: neither the output nor what it is made as.
refused() { # CODE PART NAME
    exits "$1" "$3"; err_has "$2" "$3"
    [ "$(grep -c '^alignpro' "$tmp/err")" -eq 1 ]; note $? "$3: standard error has not one message"
    [ ! -e "$tmp/out" ] && [ ! -e "$tmp/out.tmp" ]; note $? "$3: something was written"
    rm -rf "$tmp/out" "$tmp/out.tmp"
}
has_file() { [ -s "$tmp/$1" ]; note $? "$2: there is no $1"; }

# -- a model, an adapter of a run, a run of whole models --
model=$tmp/model
"$make_model" "$model" && "$make_model" "$tmp/judge" classifier || exit 1
cp "$source/examples/demo/tokenizer.json" "$source/examples/demo/tokenizer_config.json" "$model"
cp "$model/tokenizer.json" "$model/tokenizer_config.json" "$tmp/judge"
echo '{"temperature": 0.25, "eos_token_id": 1}' >"$model/generation_config.json"
echo '{{ messages }}' >"$model/chat_template.jinja"
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    echo "{\"prompt\": \"fox $i\", \"rewrite\": \"the fox\"}" >>"$tmp/rewrites.jsonl"
    echo "{\"prompt\": \"fox $i\", \"chosen\": \"A fox.\", \"rejected\": \"No $i\"}" >>"$tmp/pairs.jsonl"
done
recipe() { # RUN MODEL ADAPTER
    cat >"$tmp/$1.yaml" <<END
models: {m: $2}
prompter: {model: m, adapter: $3, meta_prompt: "{prompt}", max_new_tokens: 8}
target: {model: m, max_new_tokens: 8}
reward: {model: m, adapter: $3}
data: {path: pairs.jsonl, split: {train: 0.6, valid: 0.2, test: 0.2}}
sft: {source: file, path: rewrites.jsonl, epochs: 1, batch: 4, lr: 1e-2}
reward_train: {batch: 4, lr: 1e-2}
text: {template: plain}
run: {dir: $1, batch: 4}
END
    "$alignpro" sft "$tmp/$1.yaml" >"$tmp/log" 2>&1 && "$alignpro" reward "$tmp/$1.yaml" >>"$tmp/log" 2>&1 || {
        cat "$tmp/log"
        exit 1
    }
}
recipe lora "{path: model}" "{rank: 2}"
recipe whole "{path: model}" none
"$make_model" "$tmp/seed" && recipe random "{config: seed/config.json, init: random, tokenizer: $source/examples/demo}" "{rank: 2}"

printf '%s\n' "pretrain: {model: m, path: rewrites.jsonl, batch: 4, lr: 1e-2}" >"$tmp/more"
pretrained() { # RUN: the same from random weights through pretrain
    sed 's/run: {dir: random,/run: {dir: '"$1"',/' "$tmp/random.yaml" | cat - "$tmp/more" >"$tmp/$1.yaml"
    "$alignpro" sft "$tmp/$1.yaml" >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
}
pretrained pretrained

# -- arguments --
export_() { try "$alignpro" export "$@"; }
export_ --help; exits 0 "export --help"
export_; refused 2 "--format is missing" "no format"
export_ --format hf --out "$tmp/out"; refused 2 "--run or --model is missing" "no source"
export_ --format hf --model "$model"; refused 2 "--out is missing" "no output"
export_ --format hf --model "$model" --out "$tmp/out" x; refused 2 "'x' is too much" "a word too many"
export_ --format onnx --model "$model" --out "$tmp/out"; refused 1 "expected peft, hf or gguf" "a wrong format"
export_ --format hf --model "$model" --run "$tmp/lora" --out "$tmp/out"; refused 1 "found both" "a run and a model"
export_ --format hf --model "$model" --stage sft --out "$tmp/out"; refused 1 "a stage is a run's" "a stage of a model"
export_ --format hf --run "$tmp/lora" --adapter x --out "$tmp/out"; refused 1 "an adapter goes on a model" "an adapter on a run"
export_ --format hf --model "$model" --dtype f8 --out "$tmp/out"; refused 1 "expected f32, f16 or bf16" "a wrong dtype"
export_ --format peft --run "$tmp/lora" --dtype f16 --out "$tmp/out"; refused 1 "peft is f32" "a dtype of peft"
export_ --format hf --run "$tmp/lora" --adapter-only --out "$tmp/out"; refused 1 "a matter of gguf" "the adapter alone as hf"
export_ --format hf --frobnicate; refused 2 "frobnicate" "an unknown option"

# -- sources --
export_ --format hf --run "$tmp/nowhere" --out "$tmp/out"; refused 1 "is no run directory" "a run that is not there"
export_ --format hf --model "$tmp/nowhere" --out "$tmp/out"; refused 1 "nowhere/config.json" "a model that is not there"
export_ --format hf --run "$tmp/lora" --stage align --out "$tmp/out"; refused 1 "align is not finished" "a stage that is not finished"
export_ --format hf --run "$tmp/lora" --stage alin --out "$tmp/out"; refused 1 "has no stage alin" "a stage that there is none of"
export_ --format peft --run "$tmp/whole" --out "$tmp/out"; refused 1 "trained the whole model" "peft of a whole model"
export_ --format gguf --adapter-only --run "$tmp/whole" --out "$tmp/out"; refused 1 "trained the whole model" "adapter alone of a whole model"
export_ --format peft --model "$model" --out "$tmp/out"; refused 1 "there is no adapter" "peft of a bare model"
export_ --format peft --run "$tmp/random" --out "$tmp/out"; refused 1 "made at random" "peft of a base without a folder"
export_ --format gguf --run "$tmp/lora" --stage reward --out "$tmp/out"; refused 1 "sequence classifier" "gguf of a reward"
export_ --format gguf --adapter-only --run "$tmp/lora" --stage reward --out "$tmp/out"; refused 1 "sequence classifier" "adapter alone of a reward"
export_ --format gguf --model "$tmp/judge" --out "$tmp/out"; refused 1 "sequence classifier" "gguf of a classifier"
mkdir "$tmp/other" && cp "$tmp/lora/sft/final/"* "$tmp/other"
sed 's/"q_proj"/"wq"/' "$tmp/lora/sft/final/adapter_config.json" >"$tmp/other/adapter_config.json"
export_ --format hf --model "$model" --adapter "$tmp/other" --out "$tmp/out"; refused 1 "adapter_" "an adapter that does not fit"
cp -r "$model" "$tmp/bare" && rm "$tmp/bare/tokenizer.json"
export_ --format gguf --model "$tmp/bare" --out "$tmp/out"; refused 1 "tokenizer.json" "gguf without a tokenizer"
cp -r "$model" "$tmp/strange" && sed 's/"use_regex": *true/"use_regex": false/' "$model/tokenizer.json" >"$tmp/strange/tokenizer.json"
export_ --format gguf --model "$tmp/strange" --out "$tmp/out"; refused 1 "none that llama.cpp has a name for" "gguf of an unknown pre_tokenizer"
# the last number of model.safetensors becomes 1e6, which f16 does not hold
cp -r "$model" "$tmp/large" && { head -c -4 "$model/model.safetensors"; printf '\000\044\164\111'; } >"$tmp/large/model.safetensors"
for f in hf gguf; do
    export_ --format $f --model "$tmp/large" --dtype f16 --out "$tmp/out"; refused 1 "too large for F16" "$f of a weight over f16"
done

# and NaN, which nothing holds; and a scale that no float holds
cp -r "$model" "$tmp/nan" && { head -c -4 "$model/model.safetensors"; printf '\000\000\300\177'; } >"$tmp/nan/model.safetensors"
for f in hf gguf; do
    export_ --format $f --model "$tmp/nan" --dtype f32 --out "$tmp/out"; refused 1 "holds NaN" "$f of NaN"
done
mkdir "$tmp/huge" && cp "$tmp/lora/sft/final/"* "$tmp/huge"
sed 's/"lora_alpha": *[0-9.]*/"lora_alpha": 1e308/' "$tmp/lora/sft/final/adapter_config.json" >"$tmp/huge/adapter_config.json"
export_ --format hf --model "$model" --adapter "$tmp/huge" --out "$tmp/out"; refused 1 "lora_alpha is 1e+308" "a scale over a float"
# a tokenizer of another model
more='{"id": 600, "content": "<|more|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},'
cp -r "$model" "$tmp/foreign" && sed "s/\"added_tokens\": *\[/&$more/" "$model/tokenizer.json" >"$tmp/foreign/tokenizer.json"
for f in hf gguf; do
    export_ --format $f --model "$tmp/foreign" --out "$tmp/out"; refused 1 "601 tokens, expected at most 600" "$f with another model's tokenizer"
done
export_ --format hf --model "$model" --out ""; refused 2 "--out needs a value" "an empty output"

# -- outputs --
mkdir "$tmp/full" && echo text >"$tmp/full/file"
for f in hf peft; do
    export_ --format $f --run "$tmp/lora" --out "$tmp/full"; refused 1 "is there already and not empty" "$f onto a folder with files"
    export_ --format $f --run "$tmp/lora" --out "$tmp/full/file"; refused 1 "is there already and not empty" "$f onto a file"
    export_ --format $f --run "$tmp/lora" --out "$tmp/absent/out"; refused 1 "No such file" "$f below nothing"
done
export_ --format gguf --run "$tmp/lora" --out "$tmp/full"; refused 1 "expected the name of a file" "gguf onto a folder"
export_ --format gguf --run "$tmp/lora" --out "$tmp/full/file"; refused 1 "is there already and not empty" "gguf onto a file"
export_ --format gguf --run "$tmp/lora" --out "$tmp/absent/out"; refused 1 "No such file" "gguf below nothing"
[ "$(cat "$tmp/full/file")" = text ]; note $? "a file that was there is as it was"
mkdir "$tmp/out.tmp"
export_ --format hf --run "$tmp/lora" --out "$tmp/out"; exits 1 "a temporary folder that is there"; err_has "remove it" "a temporary folder that is there"
rmdir "$tmp/out.tmp"; note $? "a temporary folder that was there is as it was"
echo mine >"$tmp/taken.gguf.tmp"
export_ --format gguf --run "$tmp/lora" --out "$tmp/taken.gguf"; exits 1 "a temporary file that is there"
err_has "taken.gguf.tmp: is there" "a temporary file that is there"
[ "$(cat "$tmp/taken.gguf.tmp")" = mine ]; note $? "a temporary file that was there is as it was"
rm "$tmp/taken.gguf.tmp"
mkdir "$tmp/empty" && : >"$tmp/empty.gguf"
export_ --format hf --run "$tmp/lora" --out "$tmp/empty/"; exits 0 "hf onto an empty folder"; has_file empty/config.json "hf onto an empty folder"
export_ --format gguf --run "$tmp/lora" --out "$tmp/empty.gguf"; exits 0 "gguf onto an empty file"; has_file empty.gguf "gguf onto an empty file"

# -- what comes out computes the same --
scores() { # MODEL [OPTION...]: to three decimal places, what merging rounds comes after them
    echo '{"text": "a fox and an owl"}' | "$alignpro" score --model "$@" 2>"$tmp/err" |
        sed 's/.*"\(sum\|score\)": \(-*[0-9]*\.[0-9][0-9][0-9]\).*/\2/'
}
same() { # NAME A B
    [ -n "$2" ] && [ "$2" = "$3" ]; note $? "$1: scores $2 and $3 differ"
}
want=$(scores "$model" --adapter "$tmp/lora/sft/final")
[ "$want" != "$(scores "$model")" ]; note $? "the adapter changes something"
export_ --format peft --run "$tmp/lora" --out "$tmp/peft"; exits 0 peft; err_has "a prompter (sft)" peft
same peft "$want" "$(scores "$model" --adapter "$tmp/peft")"
grep -qF "\"base_model_name_or_path\": \"$(cd "$model" && pwd -P)\"" "$tmp/peft/adapter_config.json"; note $? "peft names its base"
for f in tokenizer.json tokenizer_config.json chat_template.jinja alignpro.json; do has_file peft/$f peft; done
export_ --format hf --run "$tmp/lora" --out "$tmp/hf"; exits 0 hf
same hf "$want" "$(scores "$tmp/hf")"
grep -q 0.25 "$tmp/hf/generation_config.json"; note $? "hf keeps generation_config.json"
export_ --format hf --model "$model" --adapter "$tmp/peft" --out "$tmp/again"; exits 0 "hf of a model"
cmp -s "$tmp/hf/model.safetensors" "$tmp/again/model.safetensors"; note $? "a run and its folders export the same"
export_ --format hf --dtype bf16 --model "$model" --out "$tmp/half"; exits 0 "hf bf16"
grep -q '"bfloat16"' "$tmp/half/config.json"; note $? "hf bf16 says so"
export_ --format hf --model "$model" --out "$tmp/plain"; exits 0 "hf without an adapter"
[ "$(tail -c 4096 "$model/model.safetensors" | cksum)" = "$(tail -c 4096 "$tmp/plain/model.safetensors" | cksum)" ]
note $? "without an adapter weights are as they were"
export_ --format hf --run "$tmp/lora" --stage reward --out "$tmp/classifier"; exits 0 "hf of a reward"
same "hf of a reward" "$(scores "$model" --adapter "$tmp/lora/reward/final")" "$(scores "$tmp/classifier")"
export_ --format hf --run "$tmp/whole" --out "$tmp/all"; exits 0 "hf of a whole model"
same "hf of a whole model" "$(scores "$tmp/whole/sft/final")" "$(scores "$tmp/all")"
has_file whole/sft/final/chat_template.jinja "a whole model's result"
export_ --format hf --run "$tmp/random" --out "$tmp/made"; exits 0 "hf of a random base"; has_file made/tokenizer.json "hf of a random base"
export_ --format peft --run "$tmp/pretrained" --out "$tmp/onto"; exits 0 "peft on a pretrained base"
grep -q 'pretrained/pretrain/final"' "$tmp/onto/adapter_config.json"; note $? "peft on a pretrained base names it"
same "peft on a pretrained base" "$(scores "$tmp/pretrained/pretrain/final" --adapter "$tmp/pretrained/sft/final")" \
    "$(scores "$tmp/pretrained/pretrain/final" --adapter "$tmp/onto")"
export_ --format hf --run "$tmp/pretrained" --stage pretrain --out "$tmp/start"; exits 0 "hf of pretrain"
same "hf of pretrain" "$(scores "$tmp/pretrained/pretrain/final")" "$(scores "$tmp/start")"
for d in f32 f16 bf16; do
    export_ --format gguf --dtype $d --run "$tmp/lora" --out "$tmp/$d.gguf"; exits 0 "gguf $d"; has_file $d.gguf "gguf $d"
done
export_ --format gguf --adapter-only --run "$tmp/lora" --out "$tmp/lora.gguf"; exits 0 "gguf of the adapter"
[ "$(head -c 4 "$tmp/lora.gguf")" = GGUF ]; note $? "gguf of the adapter is one"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
