# A run whose target is `alignpro serve --local-target` gives the numbers of the run that has the same model in process,
# digit for digit: metrics, rollouts, evaluations, scores, eval.json. Tiny models of random weights.
#   test_serve_target.sh ALIGNPRO PRINT_NUMBERS          from the source folder
set -u
alignpro=$1 print_numbers=$2
. tests/cli/checks.sh
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$tmp"' EXIT

tiny_model model.json 2
i=0
while [ $i -lt 24 ]; do
    i=$((i + 1))
    case $((i % 3)) in
    0) printf '{"messages": [{"role": "user", "content": "fox %d"}]}\n' $i ;;
    1) printf '{"messages": [%s, {"role": "user", "content": "otter %d"}]}\n' '{"role": "system", "content": "Be brief."}' $i ;;
    2) printf '{"messages": [%s, {"role": "user", "content": "\\"owl\\"\\n%d"}]}\n' \
        '{"role": "user", "content": "a\tb"}, {"role": "assistant", "content": "c \u00e9"}' $i ;;
    esac
done >"$tmp/prompts.jsonl"
recipe() { # NAME TARGET-YAML
    cat >"$tmp/$1.yaml" <<END
models: {m: {config: model.json, init: random, tokenizer: $source/examples/demo}}
prompter: {model: m, adapter: {rank: 2}, meta_prompt: "{prompt}", max_new_tokens: 8}
target: {$2, max_new_tokens: 12, temperature: 0.9, top_k: 200, top_p: 0.95, stop: ["er", "zz"]}
reward: {rule: length, length: 20}
data: {path: prompts.jsonl, split: {train: 0.5, valid: 0, test: 0.5}, too_long: truncate}
align: {prompts: 3, rewrites: 2, answers: 3, steps: 3}
eval: {arms: [bare, sft, align, best-of-n-answers], n: 2, seeds: [1, 2], bootstrap: 50}
run: {dir: $1, seed: 5, threads: 1}
END
}
numbers() { "$print_numbers" "$tmp/$1" 2>&1 | grep -v "${2:-nothing}"; }
same() { # NAME WHAT [BUT]: as the run here
    numbers here "${3-}" >"$tmp/out"
    numbers "$1" "${3-}" >"$tmp/err"
    cmp "$tmp/out" "$tmp/err" >/dev/null; note $? "$2: other numbers than in process"
    cmp "$tmp/here/eval.json" "$tmp/$1/eval.json" >/dev/null; note $? "$2: another eval.json than in process"
}

recipe here "model: m"
try "$alignpro" run "$tmp/here.yaml"
exits 0 "in process"
[ "$("$print_numbers" "$tmp/here" | wc -l)" -gt 200 ]; note $? "in process: hardly anything was measured"

"$alignpro" serve --run "$tmp/here" --local-target --rewrite none --listen 127.0.0.1:0 >"$tmp/serve.out" 2>"$tmp/serve.err" &
server=$!
tries=0 url=
until [ -n "$url" ] || [ $tries -gt 400 ]; do
    tries=$((tries + 1))
    sleep 0.05
    url=$(cat "$tmp/serve.out" "$tmp/serve.err" | sed -n 's|.*\(http://127.0.0.1:[0-9]*\).*|\1|p' | head -n 1)
done
[ -n "$url" ]; note $? "serve tells its address"

recipe there "url: '$url/v1', model: whatever"
try "$alignpro" run "$tmp/there.yaml"
exits 0 "over HTTP"
same there "over HTTP"
recipe together "url: '$url/v1', model: m, together: 3, concurrency: 2"
try "$alignpro" run "$tmp/together.yaml"
exits 0 "several answers to a request"
# their tokens are counted together, and the metric is one answer's
same together "several answers to a request" answer_length
# what is compared can differ
recipe other "url: '$url/v1', model: m"
try "$alignpro" run "$tmp/other.yaml" --set target.temperature=0.8
exits 0 "another temperature"
! cmp "$tmp/here/eval.json" "$tmp/other/eval.json" >/dev/null; note $? "another temperature gives the same eval.json"

# An answer that is read while it is decoded is the one that is given as a whole.
ask() { # SEED FIELDS
    try curl -s -m 60 -d "{\"seed\": $1, \"temperature\": 1.5, \"stop\": [\"e\", \"in\"], $2\"messages\": [{\"role\": \"user\", \"content\": \"fox $1\"}]}" \
        "$url/v1/chat/completions"
}
contents() { sed -n 's/.*"content":"\(.*\)"},"logprobs":null.*/\1/p' "$tmp/out"; }
if command -v curl >/dev/null; then
    seed=0 several=0 stopped=0 long=0
    # pieces that come faster than they are sent come together: of some of the answers they do not
    while [ $seed -lt 12 ] || { [ $several = 0 ] && [ $seed -lt 300 ]; }; do
        seed=$((seed + 1))
        ask $seed ""
        contents >"$tmp/whole"
        grep -q '"finish_reason":"stop"' "$tmp/out" && stopped=$((stopped + 1))
        LC_ALL=C grep -q '[^ -~]' "$tmp/whole" && long=$((long + 1))
        ask $seed '"stream": true, '
        out_has 'data: [DONE]' "a stream of seed $seed ends"
        [ "$(contents | wc -l)" -gt 1 ] && several=$((several + 1))
        [ "$(contents | tr -d '\n')" = "$(cat "$tmp/whole")" ]; note $? "seed $seed: what is streamed is not the whole"
    done
    # one prompt of several that does not fit is said before anything is streamed
    fox=$(i=0; while [ $i -lt 400 ]; do printf 'fox %d ' $i; i=$((i + 1)); done)
    for stream in true false true false true; do
        try curl -s -m 60 -w '%{http_code}' -d "{\"prompt\": [\"a\", \"b\", \"$fox\", \"c\"], \"stream\": $stream}" "$url/v1/completions"
        out_has 'prompt[2]: the prompt is too long' "a prompt that does not fit, stream $stream"
        out_has '"code": "context_length_exceeded"' "a prompt that does not fit, stream $stream"
        [ "$(tail -1 "$tmp/out")" = 400 ]; note $? "the status of a prompt that does not fit, stream $stream"
    done
    [ $several -gt 0 ]; note $? "none of $seed streams has more than one piece"
    [ $stopped -gt 0 ] && [ $long -gt 0 ]; note $? "of $seed answers $stopped were stopped, $long of more than ASCII"
else
    echo "SKIP: no curl"
fi

kill -TERM $server
wait $server
code=$?
server=
exits 0 "serve ends at SIGTERM"

echo "$passed checks passed, $failed failed"
[ $failed = 0 ]
