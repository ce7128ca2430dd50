#!/bin/sh
# A run whose target, one reward and one judge are a server: what is bought, and that nothing is bought twice, neither by a
# second run nor after a kill; budgets; the key, which is nowhere; addresses, keys and servers that are none.
#   test_http.sh ALIGNPRO SERVE_ANSWERS          from the source folder
set -u
alignpro=$1 serve_answers=$2
. tests/cli/checks.sh
servers=
trap 'for s in $servers; do kill $s 2>/dev/null; done; rm -rf "$tmp"' EXIT
export no_proxy=127.0.0.1
key=sk-test-1f7e4Zq9 # of no service
export AP_TEST_KEY=$key

serve() { # NAME OPTION...: a server; its address in $url, whose counts `count` tells
    served=$1
    shift
    "$serve_answers" "$tmp/$served.counts" "$@" >"$tmp/$served.url" &
    server=$!
    servers="$servers $server"
    until [ -s "$tmp/$served.url" ]; do sleep 0.01; done
    url=$(cat "$tmp/$served.url")
}
bought_by_table() { sed -n '/^ *bought from/,$p' "$tmp/out" | awk 'NR > 1 {n += $2} END {print n + 0}'; }
count() { # WHAT: as the server counts by now
    rm -f "$tmp/$served.counts"
    kill -USR1 $server
    until [ -e "$tmp/$served.counts" ]; do sleep 0.01; done
    sed -n "s/^$1 //p" "$tmp/$served.counts"
}
is() { [ "$2" = "$3" ]; note $? "$1: $2, expected $3"; } # is WHAT GOT EXPECTED
recipe() { # the recipe, before the server of now
    sed "s|@URL@|$url|" "$tmp/recipe.in" >"$tmp/recipe.yaml"
}
run() { # run EXIT NAME SET...
    want=$1 name=$2
    shift 2
    try "$alignpro" run "$tmp/recipe.yaml" "$@"
    exits "$want" "$name"
    cat "$tmp/out" "$tmp/err" >>"$tmp/said"
}
told() { # answers that the last notes tell of, of all three
    sed -n 's/.* \([0-9]*\) answers bought.*/\1/p' "$tmp/err" | tail -3 | awk '{n += $1} END {print n}'
}
has_sqlite=$(command -v sqlite3) || echo "SKIP: no sqlite3: what is bought is looked at through notes only"
ledger() { [ -z "$has_sqlite" ] || is "$1" "$(sqlite3 "$2" "select $3 from ledger")" "$4"; } # ledger WHAT FILE SQL EXPECTED

tiny_model model.json 2
i=0
while [ $i -lt 16 ]; do
    i=$((i + 1))
    echo "{\"prompt\": \"fox $i\"}" >>"$tmp/prompts.jsonl"
done
cat >"$tmp/recipe.in" <<END
models:
  m: {config: model.json, init: random, tokenizer: $source/examples/demo}
prompter: {model: m, adapter: {rank: 2}, meta_prompt: "{prompt}", max_new_tokens: 8}
target: {url: @URL@, name: t, model: big, key_env: AP_TEST_KEY, max_new_tokens: 8, concurrency: 4, retries: 2}
rewards:
  help: {url: @URL@/score, key_env: AP_TEST_KEY, concurrency: 4}
  len: {rule: length, length: 12}
data: {path: prompts.jsonl, split: {train: 0.5, valid: 0, test: 0.5}}
sft: {source: none}
align: {prompts: 2, rewrites: 2, answers: 1, steps: 2}
judges: {j: {url: @URL@, model: judge, key_env: AP_TEST_KEY, max_new_tokens: 8, concurrency: 4}}
eval: {arms: [bare, align, rlhf], judges: [reward, j], bootstrap: 20}
rlhf: {}
run: {dir: run, batch: 8}
END

# -- before anything is sent --
serve main key=$key
recipe
run 0 "a dry run" --dry-run --set target.budget.price_out=500
out_has "align asks for up to 8 answers (2 steps of 2 prompts, 2 rewrites of each, 1 answers to each), 8 tokens each: 64 written, 0.032 usd" "a dry run"
try env -u AP_TEST_KEY "$alignpro" run "$tmp/recipe.yaml" --dry-run; exits 0 "a dry run without the key"
is "requests of dry runs" "$(count requests)" 0
try env -u AP_TEST_KEY "$alignpro" run "$tmp/recipe.yaml"
refused 1 "AP_TEST_KEY" "a key that is not set"; err_has "target" "a key that is not set"
try env AP_TEST_KEY= "$alignpro" run "$tmp/recipe.yaml"
refused 1 "AP_TEST_KEY" "a key that is empty"
printf '%s\n' $key >"$tmp/key" && chmod 644 "$tmp/key"
run 1 "a key that others may read" --set target.key_env= --set target.key_file=key
err_has "0600" "a key that others may read"; one_line "a key that others may read"
run 1 "a key file that is not there" --set target.key_env= --set target.key_file=nokey
err_has "$tmp/nokey" "a key file that is not there"; one_line "a key file that is not there"
run 1 "certificates that are not there" --set target.ca_file=noca
err_has "target.ca_file" "certificates that are not there"; err_has "$tmp/noca" "certificates that are not there"
for bad in ftp://h/v1 127.0.0.1:80 http:// 'http://me:secret@h/v1' 'http://h/v1?key=1'; do
    run 1 "the address $bad" --set "target.url=$bad"
    err_has "target.url" "the address $bad"; one_line "the address $bad"
done
is "requests of what is refused" "$(count requests)" 0

# -- a whole run --
run 0 "a run"
out_has "Align-Pro" "a run"
file_has run/eval.json '"rlhf"' "an arm that nobody can train"
err_has "eval.arms: rlhf: n/a" "an arm that nobody can train"
[ -s "$tmp/run/report.html" ]; note $? "no report"
grep -q "Bought of servers. target: [0-9]* answers bought" "$tmp/run/report.html"; note $? "the report does not say what was bought"
first=$(count requests)
for who in target rewards.help judges.j; do
    grep -q "$who *[1-9][0-9]* answers bought" "$tmp/err"; note $? "nothing is bought of $who"
done
is "answers that the notes tell of" "$(told)" "$first"
try "$alignpro" serve --run "$tmp/run" --listen 127.0.0.1:0 --tls-cert none # which ends it
exits 1 "serving a run whose reward is a server's"
err_has "/v1/score is not served: rewards.help is a server's" "serving a run whose reward is a server's"
is "requests that were answered" "$(count whole)" "$first"
is "answers that were asked for once" "$(count keys)" "$first"
is "requests without the key" "$(count unauthorised)" 0
is "requests without Idempotency-Key" "$(count unnamed)" 0
ledger "answers in the ledger" "$tmp/run/run.db" "count(answered)" "$first"
ledger "what was sent and has no answer" "$tmp/run/run.db" "sum(sends - (answered is not null))" 0
ledger "whose they are" "$tmp/run/run.db" "count(distinct who)" 3
try "$alignpro" inspect "$tmp/run"; exits 0 "inspect"
is "answers that inspect tells of" "$(bought_by_table)" "$first"
try "$alignpro" inspect --json "$tmp/run"; exits 0 "inspect --json"
is "answers that inspect --json tells of" "$(grep -o '"answers": [0-9]*, "sends"' "$tmp/out" | tr -dc '0-9\n' | awk '{n += $1} END {print n}')" "$first"
run 0 "once more"
is "requests of a run that is there" "$(count requests)" "$first"
! grep -q "is now" "$tmp/err"; note $? "the same address is told of"
run 0 "a run that is there, at another address" --set target.url=http://127.0.0.1:9/v1
err_has "target.url was $url, is now http://127.0.0.1:9/v1: it must serve the same model" "another address"
chmod 600 "$tmp/key"
run 0 "a run whose key is in a file" --set run.dir=file --set target.key_env= --set target.key_file=key
is "requests without the key" "$(count unauthorised)" 0

# -- nothing twice --
before=$(count requests)
run 0 "a run with a ledger of its own" --set run.dir=one --set ledger=shared.db
first=$(count requests)
run 0 "another with the same" --set run.dir=two --set ledger=shared.db
is "requests of a run whose answers are there" "$(count requests)" "$first"
try "$alignpro" inspect "$tmp/one"; is "what inspect tells of the one" "$(bought_by_table)" $(($(count requests) - before))
try "$alignpro" inspect "$tmp/two"; is "and of the other" "$(bought_by_table)" 0
cmp -s "$tmp/one/eval.json" "$tmp/two/eval.json"; note $? "the same answers give another table"
run 0 "another seed" --set run.dir=three --set ledger=shared.db --set run.seed=2
[ "$(count requests)" -gt "$first" ]; note $? "another seed buys nothing"

# -- an evaluation that is not whole is told of before a bound beside it buys anything --
few="--set bound.rewrites=2 --set bound.answers=2 --set bound.scored=1"
try "$alignpro" align "$tmp/recipe.yaml" --set run.dir=beside; exits 0 "align"
try "$alignpro" eval "$tmp/recipe.yaml" --set run.dir=beside --set eval.arms=bare; exits 0 "eval of one arm"
first=$(count requests)
try "$alignpro" bound "$tmp/recipe.yaml" --set run.dir=beside --set eval.arms=bare,align $few
refused 1 "$tmp/beside: its evaluation is not whole" "a bound beside half an evaluation"
err_has "run eval again" "a bound beside half an evaluation"; err_has "has no answers of the arm 'align'" "a bound beside half an evaluation"
is "requests of a bound beside half an evaluation" "$(count requests)" "$first"
try "$alignpro" eval "$tmp/recipe.yaml" --set run.dir=beside --set eval.arms=bare,align; exits 0 "eval again"
try "$alignpro" bound "$tmp/recipe.yaml" --set run.dir=beside --set eval.arms=bare,align $few; exits 0 "a bound beside a whole evaluation"

# -- an evaluation that is begun anew is not done until it is done again; and what it asked for first is there --
first=$(count requests)
try "$alignpro" eval "$tmp/recipe.yaml" --set run.dir=beside --set eval.arms=bare,align --set eval.seeds=5,6 --set target.url=http://127.0.0.1:9/v1 --set target.retries=0
refused 1 "127.0.0.1:9" "an evaluation whose target is down"
try "$alignpro" inspect "$tmp/beside"; grep -q "^ *eval *begun" "$tmp/out"; note $? "a failed evaluation is not told as begun"
try "$alignpro" report "$tmp/beside"; refused 1 "has no evaluation yet" "a report of a failed evaluation"
try "$alignpro" bound "$tmp/recipe.yaml" --set run.dir=beside --set eval.arms=bare,align --set bound.bootstrap=9 $few; exits 0 "a bound beside a failed evaluation"
try "$alignpro" eval "$tmp/recipe.yaml" --set run.dir=beside --set eval.arms=bare,align; exits 0 "the first evaluation again"
is "requests of the first evaluation again" "$(count requests)" "$first"
try "$alignpro" inspect "$tmp/beside"; grep -q "^ *eval *done" "$tmp/out"; note $? "an evaluation that is done again is not told as done"
try "$alignpro" eval "$tmp/recipe.yaml" --set run.dir=more --set eval.arms=bare; exits 0 "eval before align"
try "$alignpro" eval "$tmp/recipe.yaml" --set run.dir=more --set eval.arms=bare,align; exits 0 "eval with an arm more, which is trained first"

# -- what a bound will ask for: where both prompters rewrite alike less is bought, with one of them it is all of it --
try "$alignpro" bound "$tmp/recipe.yaml" --dry-run --set run.dir=plan $few --set target.logprobs=true --set target.budget.price_out=500
exits 0 "the plan of a bound"
out_has "bound asks for up to 64 answers (8 test prompts, 2 rewrites of each before alignment and as many after it, 2 answers to each), 8 tokens each: 512 written, 0.256 usd; log-probabilities take up to 64 requests more" "the plan of a bound"
out_has "align asks for up to 8 answers" "the plan of a bound"
try "$alignpro" run "$tmp/recipe.yaml" --dry-run --set run.dir=plan; ! grep -q "bound asks" "$tmp/out"; note $? "the plan of a run without bound tells of one"
sed -e '/^align:/d' -e 's/bare, align, rlhf/bare/' "$tmp/recipe.yaml" >"$tmp/sft.yaml"
far="--set run.dir=plan --set target.logprobs=true --set target.api=completions --set bound.kl=0.1 --set bound.prompts=5"
try "$alignpro" bound "$tmp/sft.yaml" --dry-run $few $far
out_has "bound asks for up to 20 answers (5 test prompts, 2 rewrites of each before alignment, 2 answers to each), 8 tokens each: 160 written; log-probabilities take up to 20 requests more" "the plan of a bound without align"
! grep -q "align asks" "$tmp/out"; note $? "the plan of a bound without align tells of it"
try "$alignpro" bound "$tmp/sft.yaml" $few $far; exits 0 "a bound without align"
is "what it buys of the target" "$("$alignpro" inspect "$tmp/plan" | awk '$1 == "target" {print $2}')" 40

# -- a budget --
first=$(count requests)
run 1 "a budget that is too small" --set run.dir=small --set target.budget.requests=13
err_has "target.budget.requests is 13 and would be passed: 13 requests" "a budget that is too small"
one_line "a budget that is too small"
ledger "what a budget buys" "$tmp/small/run.db" "sum(sends * (who = 'target'))" 13
run 1 "the same again" --set run.dir=small --set target.budget.requests=13
ledger "what it buys again" "$tmp/small/run.db" "sum(sends * (who = 'target'))" 13
mv "$tmp/small" "$tmp/moved"
run 1 "in a folder that was moved" --set run.dir=moved --set target.budget.requests=13
ledger "what it buys where it was moved" "$tmp/moved/run.db" "sum(sends * (who = 'target'))" 13
mv "$tmp/moved" "$tmp/small"
run 0 "a budget that is raised" --set run.dir=small --set target.budget.requests=1000
is "requests of a run in two budgets" "$(count requests)" $((first + $(told)))
is "and no answer twice" "$(count bought)" "$(count whole)"

# -- what ends in a step leaves the steps before it: a budget, Ctrl-C --
run 1 "a budget that ends in the second step" --set run.dir=short --set target.budget.requests=6
[ -d "$tmp/short/align/ckpt/step-00000001" ]; note $? "a budget's end leaves no checkpoint"
run 0 "a budget that is raised then" --set run.dir=short --set target.budget.requests=1000
cmp -s "$tmp/run/align/final/adapter_model.safetensors" "$tmp/short/align/final/adapter_model.safetensors"
note $? "after a budget's end the weights are others"
serve patient key=$key latency=0.1
recipe
"$alignpro" run "$tmp/recipe.yaml" --set run.dir=asked --set align.steps=30 >"$tmp/out" 2>"$tmp/err" &
pid=$!
until [ "$(count requests)" -gt 14 ] || ! kill -0 $pid 2>/dev/null; do sleep 0.02; done
kill -INT $pid
code=0
wait $pid || code=$?
exits 130 "Ctrl-C"
err_has "as asked, and saved in" "Ctrl-C"
ls -d "$tmp/asked/align/ckpt/"step-* >/dev/null 2>&1; note $? "Ctrl-C leaves no checkpoint"

# -- killed while it asks: what is bought twice was in flight --
serve slow key=$key latency=0.1
recipe
kills=0
while [ $kills -lt 2 ]; do
    kills=$((kills + 1))
    enough=$(($(count requests) + 6))
    "$alignpro" run "$tmp/recipe.yaml" --set run.dir=killed >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    until [ "$(count requests)" -gt $enough ] || ! kill -0 $pid 2>/dev/null; do :; done
    kill -KILL $pid 2>/dev/null
    code=0
    wait $pid 2>/dev/null || code=$?
    exits 137 "kill $kills"
done
run 0 "after the kills" --set run.dir=killed
distinct=$(told) twice=$(($(count bought) - $(told)))
[ $twice -le $((kills * 4)) ]; note $? "$twice answers bought twice after $kills kills with 4 in flight"
is "answers after the kills" "$(count keys)" "$distinct"
ledger "what may have been bought twice" "$tmp/killed/run.db" \
    "count(*) = $distinct and sum(sends - refused - lost - 1) between $twice and $((kills * 4))" 1

# -- servers that will not --
serve stern key=$key E401_ECHO=1
recipe
run 1 "a wrong key" --set run.dir=stern
err_has "Incorrect API key provided: ****************" "a wrong key"; one_line "a wrong key"
err_has "401" "a wrong key"
serve once key=$key E401_ECHO=1 faulty=1
recipe
run 1 "a key that is refused once" --set run.dir=once
run 0 "and then taken" --set run.dir=once
serve refusing key=$key E400=1
recipe
run 1 "a wrong model" --set run.dir=name --set target.model=wrong
err_has "says 400" "a wrong model"
serve willing key=$key
recipe
cp "$tmp/name/recipe.yaml" "$tmp/wrong.yaml"
run 0 "the plan of the right one" --set run.dir=name --dry-run
cmp -s "$tmp/name/recipe.yaml" "$tmp/wrong.yaml"; note $? "a plan replaced a recipe"
run 0 "the right model in the same folder" --set run.dir=name
err_has 'target.model is "wrong" there and "big" here; this one takes its place' "the right model in the same folder"
first=$(count requests)
run 1 "another model where answers are" --set run.dir=name --set target.model=other
err_has "was made by another recipe" "another model where answers are"
rm -r "$tmp/name/align" "$tmp/name/eval"
run 1 "another model where only the answers are left" --set run.dir=name --set target.model=other
err_has "was made by another recipe" "another model where only the answers are left"
is "requests for another model" "$(count requests)" "$first"
serve gone
recipe
kill $server
wait $server 2>/dev/null
run 1 "a server that is not there" --set run.dir=gone --set target.retries=1
err_has "$url" "a server that is not there"; one_line "a server that is not there"
ledger "what never reached it, as docs/http.md has it" "$tmp/gone/run.db" "sum(sends) > 0 and sum(refused) = sum(sends)" 1

# -- the key is nowhere: in no file of a run, no ledger, nothing that was said --
rm "$tmp/key"
AP_TEST_KEY=$key "$alignpro" inspect "$tmp/run" >"$tmp/inspected" 2>&1
for part in "$key" "${key#sk-}" "$(printf %s $key | base64)" "$(printf %s $key | od -An -tx1 | tr -d ' \n')"; do
    ! grep -raqF -- "$part" "$tmp"; note $? "the key, as $part, is in $(grep -ralF -- "$part" "$tmp" | tr '\n' ' ')"
done
grep -raqF fox "$tmp/run/run.db"*; note $? "what is looked through holds not even a prompt"

echo "$passed checks passed, $failed failed"
[ $failed = 0 ]
