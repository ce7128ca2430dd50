#!/bin/sh
# HTTP/2 over TLS, where a server offers it: a run's target, and the upstream of `alignpro serve`, behind nghttpx (Debian's nghttp2-proxy) with a
# certificate of its own; what it was spoken to in, its log says.
#   test_http2.sh ALIGNPRO SERVE_ANSWERS          from the source folder
set -u
PATH=$PATH:/usr/sbin
alignpro=$1 serve_answers=$2
for needed in nghttpx openssl curl; do
    command -v $needed >/dev/null || { echo "SKIP: no $needed: nobody offers HTTP/2"; exit 0; }
done
. tests/cli/checks.sh
trap 'kill $servers 2>/dev/null; rm -rf "$tmp"' EXIT
servers=
export no_proxy=127.0.0.1

until_has() { # until_has FILE: some fifteen seconds at most
    tries=0
    until [ -s "$1" ] || [ $tries -gt 300 ]; do tries=$((tries + 1)); sleep 0.05; done
}
answers() { # answers NAME: a server, its address in $url
    "$serve_answers" "$tmp/$1.counts" >"$tmp/$1.url" &
    server=$!
    servers="$servers $server"
    until_has "$tmp/$1.url"
    url=$(cat "$tmp/$1.url")
}
requests() { awk '$1 == "POST"' "$tmp/log" | grep -c "$1"; }

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$tmp/key.pem" -out "$tmp/cert.pem" 2>/dev/null || exit 1
answers free # a port that was given and is free again
kill $server
wait $server 2>/dev/null
port=${url##*:} port=${port%%/*}
answers back
back=${url##*:} back=${back%%/*}
nghttpx --frontend="127.0.0.1,$port" --backend="127.0.0.1,$back" --workers=1 --errorlog-file="$tmp/nghttpx.err" \
    --accesslog-file="$tmp/log" --accesslog-format='$method $path $protocol_version $status' --conf=/dev/null \
    "$tmp/key.pem" "$tmp/cert.pem" >"$tmp/nghttpx.out" 2>&1 &
servers="$servers $!"
tries=0
until curl -s -o /dev/null --cacert "$tmp/cert.pem" "https://127.0.0.1:$port/" || [ $tries -gt 200 ]; do
    tries=$((tries + 1))
    sleep 0.05
done

tiny_model model.json 1
for i in 1 2 3 4 5 6 7 8; do echo "{\"prompt\": \"fox $i\"}" >>"$tmp/prompts.jsonl"; done
cat >"$tmp/recipe.yaml" <<END
models:
  m: {config: model.json, init: random, tokenizer: $source/examples/demo}
prompter: {model: m, adapter: {rank: 2}, meta_prompt: "{prompt}", max_new_tokens: 8}
target: {url: "https://127.0.0.1:$port/v1", model: big, ca_file: cert.pem, max_new_tokens: 8, concurrency: 8}
rewards: {len: {rule: length, length: 12}}
data: {path: prompts.jsonl, split: {train: 0.5, valid: 0, test: 0.5}}
sft: {source: none}
align: {prompts: 4, rewrites: 4, answers: 1, steps: 2}
eval: {arms: [bare, align], bootstrap: 20}
run: {dir: run, batch: 8}
END
try "$alignpro" run "$tmp/recipe.yaml"
exits 0 "a run before HTTP/2"
bought=$(sed -n 's/.* \([0-9]*\) answers bought.*/\1/p' "$tmp/err" | tail -1)
[ "$bought" -ge 32 ] && [ "$(requests ' HTTP/2.* 200$')" = "$bought" ]
note $? "$(requests ' HTTP/2.* 200$') requests by HTTP/2 for ${bought:-no} answers"
[ "$(requests .)" = "$bought" ]; note $? "$(requests .) requests in all"
try "$alignpro" run "$tmp/recipe.yaml" --set run.dir=other --set target.ca_file= --set target.retries=0
refused 1 "certificate" "a certificate of nobody's"

before=$(requests .)
"$alignpro" serve --run "$tmp/run" --listen 127.0.0.1:0 --upstream "https://127.0.0.1:$port/v1" --upstream-ca "$tmp/cert.pem" \
    >"$tmp/serve.out" 2>"$tmp/serve.err" </dev/null &
servers="$servers $!"
until_has "$tmp/serve.out"
proxy=$(sed -n 's/^listening on //p' "$tmp/serve.out")
for i in 1 2 3; do
    try curl -s "$proxy/v1/chat/completions" -d '{"seed": 1, "messages": [{"role": "user", "content": "fox"}]}'
    out_has '"choices"' "an answer through the proxy"
done
[ "$(requests ' HTTP/2.* 200$')" = $((before + 3)) ]; note $? "$(requests ' HTTP/2.* 200$') requests by HTTP/2 after three more than $before"

echo "$passed checks passed, $failed failed"
[ $failed = 0 ]
