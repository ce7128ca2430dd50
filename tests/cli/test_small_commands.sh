#!/bin/sh
# tokenize, render, score, generate, help: good and bad input, exit codes, error lines.
#   test_small_commands.sh ALIGNPRO MAKE_TINY_MODEL SOURCE_DIR
set -u
alignpro=$1 make_model=$2 source=$3
tmp=$(mktemp -d "${TMPDIR:-/tmp}/alignpro-cli-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=2
failed=0 passed=0

# expect NAME CODE: what the last `try` gave; then `has` and `lacks` look at its output.
try() {
    code=0
    "$@" >"$tmp/out" 2>"$tmp/err" <"$tmp/in" || code=$?
    : >"$tmp/in"
}
note() {
    if [ "$1" = 0 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: $2"
        sed 's/^/  out: /' "$tmp/out" | head -5
        sed 's/^/  err: /' "$tmp/err" | head -5
    fi
}
exits() { [ "$code" = "$1" ]; note $? "$2: exit code $code, expected $1"; }
out_is() { [ "$(cat "$tmp/out")" = "$1" ]; note $? "$2: output is not: $1"; }
out_has() { grep -qF -- "$1" "$tmp/out"; note $? "$2: output without: $1"; }
err_has() { grep -qF -- "$1" "$tmp/err"; note $? "$2: standard error without: $1"; }
n_lines() { [ "$(wc -l <"$tmp/out")" -eq "$1" ]; note $? "$2: number of lines is not $1"; }
line_has() { sed -n "$1p" "$tmp/out" | grep -qF -- "$2"; note $? "$3: line $1 without: $2"; }
input() { printf '%s\n' "$@" >"$tmp/in"; }
: >"$tmp/in"

# -- folders --
model=$tmp/model bare=$tmp/bare judge=$tmp/judge
"$make_model" "$model" && "$make_model" "$bare" && "$make_model" "$judge" classifier || exit 1
for dir in "$model" "$judge"; do
    cp "$source/examples/demo/tokenizer.json" "$source/examples/demo/tokenizer_config.json" "$dir"
done

# -- the program --
try "$alignpro"; exits 2 "no command"; out_has "generate" "no command"
try "$alignpro" --version; exits 0 version; out_has "alignpro " version
try "$alignpro" help; exits 0 help; out_has "tokenize" help
try "$alignpro" help score; exits 0 "help score"; out_has "usage: alignpro score" "help score"
try "$alignpro" score --help; exits 0 "score --help"; out_has "logprobs" "score --help"
try "$alignpro" help align.kl; exits 0 "help align.kl"; out_has "align.kl" "help align.kl"; n_lines 1 "help align.kl"
try "$alignpro" help align.kll; exits 1 "help of a wrong key"; err_has "align.kl" "help of a wrong key"
try "$alignpro" help generat; exits 1 "help of a wrong command"; err_has "no command is called generat; the nearest is generate" "help of a wrong command"
err_has "no recipe key is called generat" "help of a wrong command"
try "$alignpro" help align.generat; err_has "alignpro: no recipe key is called align.generat" "help of a wrong key"
try "$alignpro" help ""; exits 2 "help of nothing"; err_has "the name is empty" "help of nothing"
try "$alignpro" generat; exits 2 "wrong command"; err_has "did you mean 'generate'" "wrong command"
try "$alignpro" pre; exits 2 "a command's beginning"; err_has "did you mean 'pretrain'?" "a command's beginning"
for name in judge x "" foldercheck; do
    try "$alignpro" "$name"; exits 2 "command '$name'"; err_has "there is no command '$name'; see alignpro help" "command '$name'"
done
try "$alignpro" help judge; exits 1 "help of what is like no command"; err_has "no command is called judge; no recipe key" "help of what is like no command"
for c in tokenize render score generate; do
    try "$alignpro" $c; exits 2 "$c without --model"; err_has "--model" "$c without --model"
    try "$alignpro" $c --model; exits 2 "$c --model without a value"
    try "$alignpro" $c --modle "$model"; exits 2 "$c with a wrong option"; err_has "modle" "$c with a wrong option"
    try "$alignpro" $c --model "$tmp/nowhere"; exits 1 "$c on a missing folder"; err_has "nowhere" "$c on a missing folder"
    try "$alignpro" $c --model "$model" a b; exits 2 "$c with two texts"
done

# -- tokenize --
input '{"text": "a cat </s>"}' '{"text": ""}'
try "$alignpro" tokenize --model "$model"; exits 0 tokenize; n_lines 2 tokenize; line_has 2 '{"ids": []}' tokenize
cp "$tmp/out" "$tmp/ids"
cp "$tmp/ids" "$tmp/in"
try "$alignpro" tokenize --model "$model" --decode; exits 0 decode; line_has 1 '{"text": "a cat </s>"}' decode
input '{"text": "x"}'
try "$alignpro" tokenize --model "$model" --special; out_has '{"ids": [0, ' "tokenize --special"
input 'not json' '{"text": 3}' '{"text": "x"}' '{}' '[1]'
try "$alignpro" tokenize --model "$model"; exits 1 "tokenize bad lines"; n_lines 5 "tokenize bad lines"
for i in 1 2 4 5; do line_has $i '{"error": "line '$i "tokenize bad lines"; done
line_has 3 '{"ids": [' "tokenize bad lines"
input '{"ids": [600]}' '{"ids": [-1]}' '{"ids": "x"}'
try "$alignpro" tokenize --model "$model" --decode; exits 1 "decode bad ids"; line_has 1 600 "decode bad ids"; line_has 3 '"error"' "decode bad ids"
try "$alignpro" tokenize --model "$model" "a cat"; exits 0 "tokenize TEXT"
try "$alignpro" tokenize --model "$bare" x; exits 1 "tokenize without tokenizer.json"; err_has "tokenizer.json" "tokenize without tokenizer.json"

# -- inspect --
printf '%s\n' '{"prompt": "a cat", "chosen": "b", "rejected": "c"}' 'broken' >"$tmp/pairs.jsonl"
try "$alignpro" inspect; exits 2 "inspect without a path"
try "$alignpro" inspect --frmat x y; exits 2 "inspect with a wrong option"; err_has "frmat" "inspect with a wrong option"
try "$alignpro" inspect "$tmp/nowhere"; exits 1 "inspect of nothing"; err_has "nowhere" "inspect of nothing"
try "$alignpro" inspect --model "$model" "$tmp/pairs.jsonl"; exits 0 inspect; out_has "length in tokens" inspect; out_has "malformed   1" inspect
try "$alignpro" inspect --json "$tmp/pairs.jsonl"; exits 0 "inspect --json"; n_lines 1 "inspect --json"; out_has '"unit": "words"' "inspect --json"
try "$alignpro" inspect "$model"; exits 0 "inspect of a model"; out_has "as config.json says" "inspect of a model"; out_has "600 tokens" "inspect of a model"
try "$alignpro" inspect "$judge"; exits 0 "inspect of a classifier"; out_has "a sequence classifier" "inspect of a classifier"
try "$alignpro" inspect --json "$model"; exits 0 "inspect --json of a model"; n_lines 1 "inspect --json of a model"; out_has '"kind": "model"' "inspect --json of a model"
try "$alignpro" inspect "$model/model.safetensors"; exits 0 "inspect of a file"; out_has "{0..1}" "inspect of a file"
try "$alignpro" inspect "$source/examples/demo"; exits 0 "inspect of a tokenizer"; out_has "tokenizer alone" "inspect of a tokenizer"
mkdir "$tmp/half" && cp "$model/config.json" "$tmp/half" && head -c 1000 "$model/model.safetensors" >"$tmp/half/model.safetensors"
try "$alignpro" inspect "$tmp/half"; exits 1 "inspect of cut weights"; out_has "PROBLEM" "inspect of cut weights"; out_has "family" "inspect of cut weights"
err_has "truncated" "inspect of cut weights"
try "$alignpro" inspect "$tmp/half/model.safetensors"; exits 1 "inspect of a cut file"; n_lines 0 "inspect of a cut file"; err_has "truncated" "inspect of a cut file"
try "$alignpro" inspect "$source/examples/stories.yaml"; exits 1 "inspect of a recipe"; n_lines 0 "inspect of a recipe"
err_has "stories.yaml: is YAML, as recipes are; \`alignpro run" "inspect of a recipe"
cp "$tmp/pairs.jsonl" "$tmp/pairs.yaml"
try "$alignpro" inspect --format pairs "$tmp/pairs.yaml"; exits 0 "inspect of data by a recipe's name"
mkdir "$tmp/empty"
try "$alignpro" inspect "$tmp/empty"; exits 1 "inspect of an empty folder"; err_has "nothing in it" "inspect of an empty folder"
mkfifo "$tmp/pipe"
try timeout 20 "$alignpro" inspect "$tmp/pipe"; exits 1 "inspect of a pipe"; err_has "device or pipe" "inspect of a pipe"

# -- render --
input '{"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": true}' \
    '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}'
try "$alignpro" render --model "$model"; exits 0 render; line_has 1 '"text": "hi\n", "ids": [0, ' render
line_has 2 '1]}' "render ends with the end token"
input '{"messages": [{"role": "user", "content": "a</s>"}]}'
try "$alignpro" render --model "$model" --special-in-content text; exits 0 "render, special as text"
try grep -q ', 1]}' "$tmp/out"; exits 1 "render, special as text: no end token"
try "$alignpro" render --model "$model" --special-in-content maybe hi; exits 2 "render, special as maybe"
try "$alignpro" render --model "$model" --template plain hi; exits 0 "render by name"; out_is "hi" "render by name"
try "$alignpro" render --model "$model" --template llama9 hi; exits 1 "render by a wrong name"; err_has "plain, llama3, qwen2, phi3" "render by a wrong name"
try "$alignpro" render --model "$model" --template llama3 hi; exits 1 "render, token missing"; err_has "<|eot_id|>" "render, token missing"
echo '{{ messages }}' >"$tmp/own.jinja"
try "$alignpro" render --model "$model" --template "$tmp/own.jinja" hi; exits 1 "render by an unknown file"; err_has "own.jinja" "render by an unknown file"
input '{"messages": [{"role": "user", "content": "hi"}], "tools": [1]}' \
    '{"messages": [{"role": "user", "content": "hi", "tool_calls": [1]}]}' '{"messages": [{"role": "tool", "content": "hi"}]}'
try "$alignpro" render --model "$model"; exits 1 "render tools"
for i in 1 2 3; do line_has $i tool "render tools"; line_has $i '"error"' "render tools"; done
input '{"messages": []}' '{"messages": [{"role": "robot", "content": "hi"}]}' '{"messages": [{"role": "user"}]}' '{}'
try "$alignpro" render --model "$model"; exits 1 "render bad lines"; n_lines 4 "render bad lines"
line_has 2 robot "render bad lines"; line_has 3 content "render bad lines"; line_has 4 messages "render bad lines"
try "$alignpro" render --model "$model" hello; exits 0 "render TEXT"; out_has hello "render TEXT"

# -- score --
input '{"ids": [0, 5, 9]}' '{"ids": [7]}' '{"text": "a cat"}' '{"prompt": "a cat", "response": "a dog"}'
try "$alignpro" score --model "$model"; exits 0 score; n_lines 4 score
line_has 1 '"tokens": 2}' score; line_has 2 '{"logprobs": [], "sum": 0.0, "tokens": 0}' score
# the answer's log-probabilities are those of its tokens after the chat with a generation prompt
input '{"messages": [{"role": "user", "content": "a cat"}], "add_generation_prompt": true}'
try "$alignpro" render --model "$model"
prompt=$(sed 's/.*"ids": \[\(.*\)\].*/\1/' "$tmp/out")
input '{"text": "a dog"}'
try "$alignpro" tokenize --model "$model"
answer=$(sed 's/.*"ids": \[\(.*\)\].*/\1/' "$tmp/out")
input '{"prompt": "a cat", "response": "a dog"}' "{\"ids\": [$prompt, $answer, 1]}"
try "$alignpro" score --model "$model"; exits 0 "score of an answer"
whole=$(sed -n '2s/.*\[\(.*\)\].*/\1/p' "$tmp/out") part=$(sed -n '1s/.*\[\(.*\)\].*/\1/p' "$tmp/out")
case $whole in *", $part") note 0 x ;; *) note 1 "score of an answer is no tail of the whole" ;; esac
n_answer=$(($(printf '%s' "$answer" | tr -cd , | wc -c) + 2))
line_has 1 "\"tokens\": $n_answer}" "score of an answer and its end token"
input '{"ids": []}' '{"ids": [600]}' '{"ids": [1], "text": "x"}' '{"prompt": "x"}' '{}' '{"ids": [1.5]}' '{"ids": [3, 4]}'
try "$alignpro" score --model "$model"; exits 1 "score bad lines"; n_lines 7 "score bad lines"
for i in 1 2 3 4 5 6; do line_has $i '{"error": "line '$i "score bad lines"; done
line_has 2 600 "score bad lines"; line_has 3 "expected one" "score bad lines"; line_has 4 response "score bad lines"
line_has 7 '"tokens": 1}' "score bad lines"
input '{"ids": [1, 2, 3, 4, 5]}' '{"ids": [1, 2, 3, 4]}'
try "$alignpro" score --model "$model" --context 4; exits 1 "score past the context"
line_has 1 "5 tokens" "score past the context"; line_has 1 "holds 4" "score past the context"; line_has 2 '"tokens": 3}' "score past the context"
try "$alignpro" score --model "$model" "a cat"; exits 0 "score TEXT"; out_has "nats over" "score TEXT"
try "$alignpro" score --model "$bare" "a cat"; exits 1 "score of a text without a tokenizer"; err_has "tokenizer.json" "score of a text without a tokenizer"
input '{"ids": [0, 5, 9]}' '{"text": "x"}'
try "$alignpro" score --model "$bare"; exits 1 "score without a tokenizer"; line_has 1 '"tokens": 2}' "score without a tokenizer"; line_has 2 "tokenizer.json" "score without a tokenizer"
input '{"ids": [0, 5]}' '{"text": "a cat"}' '{"prompt": "a cat", "response": "a dog"}'
try "$alignpro" score --model "$judge"; exits 0 "score by a classifier"; line_has 1 '{"score": ' "score by a classifier"; line_has 3 '{"score": ' "score by a classifier"
try "$alignpro" score --model "$judge" "a cat"; exits 0 "classifier TEXT"; n_lines 1 "classifier TEXT"
try "$alignpro" score --model "$model" --context 1000; exits 1 "a context the model has not"; err_has 1000 "a context the model has not"
try "$alignpro" score --model "$model" --context 1x; exits 2 "context is no number"; err_has "1x" "context is no number"
try "$alignpro" score --model "$model" --adapter "$tmp/none" x; exits 1 "missing adapter"; err_has none "missing adapter"

cp -r "$model" "$tmp/nan"
{ head -c -4 "$model/model.safetensors"; printf '\000\000\300\177'; } >"$tmp/nan/model.safetensors"
try "$alignpro" score --model "$tmp/nan" "a cat"; exits 1 "score of NaN weights"; err_has "NaN or Inf" "score of NaN weights"
input '{"text": "a cat"}'
try "$alignpro" score --model "$tmp/nan"; exits 1 "score of NaN weights, lines"; line_has 1 "NaN or Inf" "score of NaN weights, lines"

# -- generate --
input '{"ids": [0, 5]}' '{"prompt": "a cat"}' '{"messages": [{"role": "user", "content": "a cat"}]}'
try "$alignpro" generate --model "$model" --max-new-tokens 5; exits 0 generate; n_lines 3 generate
for i in 1 2 3; do line_has $i '"text": "' generate; line_has $i '"stop": "' generate; done
cp "$tmp/out" "$tmp/greedy"
input '{"ids": [0, 5]}' '{"prompt": "a cat"}' '{"messages": [{"role": "user", "content": "a cat"}]}'
try "$alignpro" generate --model "$model" --max-new-tokens 5 --seed 9 --threads 1; cmp -s "$tmp/out" "$tmp/greedy"; note $? "greedy depends on a seed or on threads"
for seed in 3 3 4; do
    input '{"ids": [0, 5]}' '{"ids": [0, 5]}'
    try "$alignpro" generate --model "$bare" --max-new-tokens 20 --temperature 1 --seed $seed
    exits 0 "generate with a seed"; cat "$tmp/out" >>"$tmp/seeds"
done
[ "$(sed -n 1,2p "$tmp/seeds")" = "$(sed -n 3,4p "$tmp/seeds")" ]; note $? "a seed does not give the same tokens"
[ "$(sort -u "$tmp/seeds" | wc -l)" -eq 4 ]; note $? "seeds and lines do not give different tokens"
grep -q text "$tmp/seeds"; [ $? -ne 0 ]; note $? "text without a tokenizer"
input '{"ids": [0]}' '{"prompt": "x"}'
try "$alignpro" generate --model "$bare" --max-new-tokens 2; exits 1 "generate without a tokenizer"; line_has 1 '"stop"' "generate without a tokenizer"; line_has 2 "tokenizer.json" "generate without a tokenizer"
input '{"ids": [1, 2, 3, 4]}' '{"ids": [1, 2, 3]}' '{"ids": []}' '{}' '{"ids": [999]}' '{"prompt": "x", "ids": [1]}'
try "$alignpro" generate --model "$model" --context 4; exits 1 "generate bad lines"; n_lines 6 "generate bad lines"
line_has 1 "has 4 tokens" "generate bad lines"; line_has 1 "context of 4" "generate bad lines"
line_has 2 '"stop": "' "generate bad lines"; line_has 4 '\"messages\"' "generate bad lines"; line_has 5 999 "generate bad lines"
try "$alignpro" generate --model "$model" --temperature 1 --max-new-tokens 40 --seed 1 "a cat"; exits 0 "generate TEXT"
whole=$(cat "$tmp/out") stop=$(cut -c 12-18 "$tmp/out" | head -1)
try "$alignpro" generate --model "$model" --temperature 1 --max-new-tokens 40 --seed 1 --stop "$stop" "a cat"; exits 0 "generate --stop"
case $whole in "$(cat "$tmp/out")$stop"*) note 0 x ;; *) note 1 "generate --stop '$stop' cuts elsewhere" ;; esac
try "$alignpro" generate --model "$judge" x; exits 1 "generate by a classifier"; err_has classifier "generate by a classifier"
for bad in "--temperature -1" "--temperature x" "--temperature 1e-9" "--temperature 1001" "--temperature nan" "--top-k -1" "--top-p 1.5" "--top-p 0" "--min-p 1.1" "--min-p -1" "--repetition-penalty 0" "--repetition-penalty nan" "--seed x" "--max-new-tokens 0" "--threads 0"; do
    # shellcheck disable=SC2086
    try "$alignpro" generate --model "$model" $bad x; exits 2 "generate $bad"; err_has "${bad%% *}" "generate $bad"
done
try "$alignpro" generate --model "$bare" --stop "" x; exits 2 "an empty stop"
input '{"ids": [0]}'
try "$alignpro" generate --model "$model" --temperature 0.8 --top-k 5 --top-p 0.9; exits 0 "generate truncated"
try "$alignpro" generate --model "$model" --repetition-penalty 1.2 --temperature 0.8 --min-p 0.1; exits 0 "generate penalised"

# -- a damaged model, a full disk, a closed pipe --
cp -r "$model" "$tmp/cut"
head -c 5000 "$model/model.safetensors" >"$tmp/cut/model.safetensors"
try "$alignpro" score --model "$tmp/cut" x; exits 1 "cut weights"; err_has "model.safetensors" "cut weights"
if [ -w /dev/full ]; then
    input '{"ids": [0, 5]}'
    "$alignpro" score --model "$model" <"$tmp/in" >/dev/full 2>"$tmp/err"; code=$?
    exits 1 "full disk"; err_has "cannot write" "full disk"
fi
{ "$alignpro" score --model "$model" 2>"$tmp/err"; echo $? >"$tmp/code"; } <<EOF | :
$(i=0; while [ $i -lt 3000 ]; do echo '{"ids": [0, 5, 6, 7, 8, 9]}'; i=$((i + 1)); done)
EOF
code=$(cat "$tmp/code"); exits 1 "closed pipe"


# -- a limit on the size of files, closed streams --
i=0; while [ $i -lt 60 ]; do echo '{"ids": [0, 5, 6, 7, 8, 9]}'; i=$((i + 1)); done >"$tmp/in"
(ulimit -f 2; "$alignpro" score --model "$model" <"$tmp/in" >"$tmp/small" 2>"$tmp/err"); code=$?
exits 1 "file size limit"; err_has "cannot write the output: File too large" "file size limit"
: >"$tmp/out"
input '{"ids": [0, 5]}'
"$alignpro" score --model "$model" <"$tmp/in" >&- 2>"$tmp/err"; code=$?
exits 1 "closed output"; err_has "cannot write the output" "closed output"
"$alignpro" score --model "$model" <"$tmp/in" >"$tmp/out" 2>&-; code=$?
exits 0 "closed standard error"; out_has '"tokens": 1}' "closed standard error"
"$alignpro" score --model "$model" <&- >"$tmp/out" 2>"$tmp/err"; code=$?
exits 0 "closed input"; n_lines 0 "closed input"
: >"$tmp/in"

# -- what is no file --
cp -r "$model" "$tmp/fifo" && rm "$tmp/fifo/config.json" && mkfifo "$tmp/fifo/config.json"
try timeout 20 "$alignpro" score --model "$tmp/fifo" x; exits 1 "a pipe for a file"
err_has "config.json: is a device or pipe, expected a regular file" "a pipe for a file"

# -- the real model --
stories=${ALIGNPRO_DATA:-$source/../shared/data}/models/stories260K-hf
if [ -r "$stories/model.safetensors" ]; then
    try "$alignpro" generate --model "$stories" --max-new-tokens 24 "Once upon a time"
    exits 0 stories; out_has "there was a little girl named Lily." stories
    input '{"text": "Once upon a time"}'
    try "$alignpro" score --model "$stories"; exits 0 "stories score"; out_has '"logprobs": [-' "stories score"
else
    echo "SKIP: $stories is absent (set ALIGNPRO_DATA)"
fi

echo "$passed checks passed, $failed failed"
[ $failed -eq 0 ]
