#!/bin/sh
# alignpro serve as a person runs it, on a tiny model of random weights: options, keys that are made and taken away,
# signals, and what the log says of whom.
#   test_serve.sh ALIGNPRO          from the source folder
set -u
alignpro=$1
. tests/cli/checks.sh

# -- options --
try "$alignpro" serve; refused 2 "--run is missing" "no run"
try "$alignpro" serve --run x --upstream http://127.0.0.1:1 --local-target; refused 2 "one of them" "two targets"
try "$alignpro" serve --run x --budget soon; refused 2 "--budget is 'soon'" "a budget that is none"
try "$alignpro" serve --run x --queue 1.5; refused 2 "--queue is '1.5'" "half a work"
try "$alignpro" serve --run x --nonsense; refused 2 "nonsense" "an option that is none"
try "$alignpro" serve --run x y; refused 2 "'y' is no option" "a text"
try "$alignpro" serve --run "$tmp/nowhere" --rewrite some; refused 1 "last, all or none" "a policy that is none"
try "$alignpro" serve --run "$tmp/nowhere" --connections 0; refused 1 "connections is 0" "no connections"
try "$alignpro" serve --run "$tmp/nowhere"; exits 1 "no run there"; err_has nowhere "no run there"
try "$alignpro" serve --help; exits 0 "help"; out_has "--local-target" "help"

# -- keys --
try "$alignpro" serve --new-key ada; refused 2 "--keys" "a key for no file"
try "$alignpro" serve --keys "$tmp/keys" --new-key ada; exits 0 "a key"; out_has "ap-" "a key"
key=$(cat "$tmp/out")
try "$alignpro" serve --keys "$tmp/keys" --new-key bob; exits 0 "another key"
bob=$(cat "$tmp/out")
[ "$(stat -c %a "$tmp/keys")" = 600 ]; note $? "the file of keys is its owner's"
! grep -qF "$key" "$tmp/keys"; note $? "the key itself is not in it"
file_has keys "ada $(printf %s "$key" | sha256sum | cut -d' ' -f1)" "its hash is"
try "$alignpro" serve --keys "$tmp/keys" --new-key ada; refused 1 "ada has a key already" "the same name"
try "$alignpro" serve --keys "$tmp/keys" --new-key "a b"; refused 1 "no name of a key" "a name that is none"

# -- a run --
tiny_model model.json 2
i=0
while [ $i -lt 12 ]; do i=$((i + 1)); echo "{\"prompt\": \"fox $i\"}" >>"$tmp/prompts.jsonl"; done
cat >"$tmp/recipe.yaml" <<END
models:
  m: {config: model.json, init: random, tokenizer: $source/examples/demo}
prompter: {model: m, adapter: {rank: 2}, meta_prompt: "{prompt}", max_new_tokens: 8}
target: {model: m, adapter: {rank: 2}, max_new_tokens: 8}
reward: {rule: length, length: 12}
data: {path: prompts.jsonl, split: {train: 0.5, valid: 0, test: 0.5}}
sft: {source: none}
align: {prompts: 2, rewrites: 2, answers: 1, steps: 1}
run: {dir: run, batch: 8}
END
try "$alignpro" align "$tmp/recipe.yaml"; exits 0 "a run"
try "$alignpro" serve --run "$tmp/run" --listen 0.0.0.0:0; refused 1 "there are no keys" "an open address without keys"
try "$alignpro" serve --run "$tmp/run" --listen 127.0.0.1:65536; refused 1 "no address to listen on" "a port that is none"
try "$alignpro" serve --run "$tmp/run" --upstream http://me:secretpw@h/v1; refused 1 "no name and no password" "an upstream with a password"
grep -q secretpw "$tmp/err"; [ $? != 0 ]; note $? "an upstream's password is repeated"
try "$alignpro" serve --run "$tmp/run" --upstream https://h/v1 --upstream-ca "$tmp/none"
refused 1 "certificates to trust" "certificates that are not there"
try "$alignpro" serve --run "$tmp/run" --upstream ftp://x; refused 1 "http://" "an upstream that is none"
try "$alignpro" serve --run "$tmp/run" --upstream http://127.0.0.1:1 --upstream-key-env NOT_SET_HERE
exits 1 "a key that is not there"; err_has NOT_SET_HERE "a key that is not there"

command -v curl >/dev/null || { echo "SKIP: no curl"; echo "$passed passed, $failed failed"; [ "$failed" = 0 ]; exit; }

start() { # OPTIONS: a server in the background; $url is where, $pid what
    : >"$tmp/serve.out" # the last one's address is not waited for
    "$alignpro" serve --run "$tmp/run" --listen 127.0.0.1:0 "$@" >"$tmp/serve.out" 2>"$tmp/serve.err" </dev/null &
    pid=$!
    tries=0
    until grep -q '^listening on ' "$tmp/serve.out" || [ $tries -gt 600 ]; do tries=$((tries + 1)); sleep 0.05; done
    url=$(sed -n 's/^listening on //p' "$tmp/serve.out")
}
ask() { # KEY PATH BODY: status in $tmp/out's last line
    try curl -s -m 60 -w '\n%{http_code}\n' -H "Authorization: Bearer $1" -d "$3" "$url$2"
}
hang_up() { # TEXT: waits for it on standard error
    kill -HUP $pid
    tries=0
    until grep -q "$1" "$tmp/serve.err" || [ $tries -gt 200 ]; do tries=$((tries + 1)); sleep 0.05; done
}
answered() { [ "$(tail -n 1 "$tmp/out")" = "$1" ]; note $? "$2: status is not $1"; }

start --local-target --keys "$tmp/keys" --log
ask wrong /v1/rewrite '{"prompt": "a fox"}'; answered 401 "a wrong key"
ask "$key" /v1/rewrite '{"prompt": "a secret fox"}'; answered 200 "a rewrite"; out_has '"rewrite":' "a rewrite"
ask "$key" /v1/score '{"prompt": "a fox", "answer": "four"}'; answered 200 "a score"; out_has '"score":' "a score"
ask "$key" /v1/chat/completions '{"messages": [{"role": "user", "content": "a secret fox"}], "x-alignpro": "show"}'
answered 200 "a chat"; out_has '"finish_reason":' "a chat"; out_has '"x_alignpro":{"rewrites":[{' "a chat"
stream=1-2-3-4-5
for k in 1 2; do
    try curl -s -m 60 -H "Authorization: Bearer $key" -H "x-alignpro-stream: $stream" -H "x-alignpro: off" \
        -d '{"prompt": "fox"}' "$url/v1/completions"
    sed 's/"id":"[^"]*"//; s/"created":[0-9]*//' "$tmp/out" >"$tmp/answer.$k"
done
[ -s "$tmp/answer.1" ] && cmp -s "$tmp/answer.1" "$tmp/answer.2"; note $? "the same stream, the same answer"
grep -v '^ada ' "$tmp/keys" >"$tmp/keys.new" && cat "$tmp/keys.new" >"$tmp/keys"
hang_up "read again"
ask "$key" /v1/rewrite '{"prompt": "a fox"}'; answered 401 "a key that was taken away"
ask "$bob" /v1/rewrite '{"prompt": "a fox"}'; answered 200 "a key that stays"
kill -TERM $pid
wait $pid; code=$?
exits 0 "a stop"
file_has serve.err "POST /v1/chat/completions 200" "the log"
grep -q "POST /v1/rewrite 200 .* ms ada" "$tmp/serve.err"; note $? "the log names the key"
! grep -qF secret "$tmp/serve.err" && ! grep -qF "$key" "$tmp/serve.err"; note $? "neither prompt nor key is in the log"

start --local-target --rewrite none --no-score --queue 2 --batch 2
ask - /v1/completions '{"prompt": "a fox", "n": 9, "max_tokens": 2}'; answered 200 "more answers than places"
out_has '"index":8' "more answers than places"
kill -TERM $pid
wait $pid; code=$?
exits 0 "a stop"

pair() { # NAME: a certificate and its key
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$tmp/$1.key" -out "$tmp/$1.pem" 2>/dev/null
}
if pair old && pair new; then
    cp "$tmp/old.pem" "$tmp/cert.pem" && cp "$tmp/old.key" "$tmp/cert.key"
    start --rewrite none --no-score --tls-cert "$tmp/cert.pem" --tls-key "$tmp/cert.key"
    try curl -s -m 60 --cacert "$tmp/old.pem" "$url/healthz"; exits 0 "https"; out_has '"status":"ok"' "https"
    cp "$tmp/new.pem" "$tmp/cert.pem"
    hang_up "are as they were"; file_has serve.err "do not match" "half a renewal"
    try curl -s -m 60 --cacert "$tmp/old.pem" "$url/healthz"; exits 0 "half a renewal"
    cp "$tmp/new.key" "$tmp/cert.key"
    hang_up "read again"
    try curl -s -m 60 --cacert "$tmp/new.pem" "$url/healthz"; exits 0 "a new certificate"
    try curl -s -m 60 --cacert "$tmp/old.pem" "$url/healthz"; exits 60 "the old certificate"
    kill -TERM $pid
    wait $pid; code=$?
    exits 0 "a stop"
else
    echo "SKIP: no openssl program, or one that makes no certificate"
fi

start --rewrite none --log-prompts
ask - /v1/chat/completions '{"messages": [{"role": "user", "content": "a fox"}]}'; answered 501 "rewrite only"
ask - /v1/rewrite '{"prompt": "a fox"}'; answered 200 "rewrite only"
kill -INT $pid
wait $pid; code=$?
exits 0 "Ctrl-C"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
