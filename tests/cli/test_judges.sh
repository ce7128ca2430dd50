#!/bin/sh
# Judges that compare, programs and models, on tiny models of random weights: a good one, one that always says A,
# nonsense, silence, an early death; what the tables say of each; a judge that changes is asked again, others are not.
#   test_judges.sh ALIGNPRO          from the source folder
set -u
alignpro=$1
. tests/cli/checks.sh

run() { # run EXIT NAME JUDGES-YAML SET...
    want=$1 name=$2
    sed "s|@JUDGES@|$3|" "$tmp/recipe.in" >"$tmp/recipe.yaml"
    shift 3
    try "$alignpro" run "$tmp/recipe.yaml" "$@"
    exits "$want" "$name"
}

tiny_model model.json 2
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
file_has run/eval.json '"judge": "j"' "ties"
file_has run/report.html "Wins over bare, judge by judge" "ties"
run 0 "always the first" "command: [sh, first.sh]"
out_has "contradicts itself on" "always A"
out_has "position decides more than the answers" "always A"
run 0 "nonsense" "command: [sh, prose.sh]"
out_has "no win rate, because" "nonsense"
file_has run/report.html "of the pairs without verdict" "nonsense"
run 0 "a judge that dies" "command: [sh, -c, 'exit 3']"
out_has "no win rate, because" "a dead judge"
run 0 "a judge whose file is not there" "command: [sh, late.sh]"
out_has "no win rate, because" "a judge that is not there yet"
judge late.sh tie
try "$alignpro" run "$tmp/recipe.yaml"
out_has "wins 50%" "once it is mended, the same command asks what was left open"
run 0 "silence" "command: [sleep, '30'], timeout: 0.2"
out_has "no win rate, because" "a silent judge"
# killed while it asks: what was stored is not asked for again
cat >"$tmp/slow.sh" <<'END'
while IFS= read -r line; do
    id=$(printf '%s' "$line" | sed 's/^{"id": *\([0-9]*\).*/\1/')
    echo asked >>asked.log
    sleep 0.02
    printf '{"id": %s, "reply": "Verdict: A"}\n' "$id"
done
END
sed "s|@JUDGES@|command: [sh, slow.sh]|" "$tmp/recipe.in" >"$tmp/recipe.yaml"
: >"$tmp/asked.log"
"$alignpro" run "$tmp/recipe.yaml" --set eval.arms=bare,align,instruct --set run.dir=killed >"$tmp/out" 2>"$tmp/err" &
pid=$!
tries=0
until [ "$(wc -l <"$tmp/asked.log")" -gt 25 ] || [ $tries -gt 400 ]; do tries=$((tries + 1)); sleep 0.05; done
kill -KILL $pid
wait $pid 2>/dev/null
sleep 0.3
before=$(wc -l <"$tmp/asked.log")
try "$alignpro" run "$tmp/recipe.yaml" --set eval.arms=bare,align,instruct --set run.dir=killed
out_has "Judge j, Align-Pro against bare" "after a kill"
pairs=$(sed -n 's/.*"pairs": \([0-9]*\).*/\1/p' "$tmp/killed/eval.json" | awk '{n += $1} END {print n}')
after=$(wc -l <"$tmp/asked.log")
[ "$before" -gt 25 ] && [ "$after" -le $((2 * pairs + 32)) ]; note $? "$after questions after a kill at $before, of $pairs pairs: more than one step was asked twice"
run 1 "what is no reply" "command: [yes]"
grep -q '^alignpro: .*j' "$tmp/err"; note $? "what is no reply: one line that names it"
run 1 "no command" "timeout: 3"
run 1 "a judge before the scores" "command: [cat]" --set eval.judges=j,reward
cp "$source/examples/judge_shorter.sh" "$tmp/"
run 0 "the example" 'command: [sh, judge_shorter.sh], question: "{a}<\|>{b}"'
out_has "0% contradicted, 0% without verdict" "the example"
run 0 "again a good one" "command: [sh, tie.sh]"
out_has "wins 50%" "asked anew"

# a language model of the recipe; it may come to a run that is over
model() { # JUDGE-YAML MODEL-YAML [SECTION]: the recipe with one model more
    sed -e "s|@JUDGES@|$1|" -e "s|^prompter:|  e: {$2}\n&|" "$tmp/recipe.in" >"$tmp/recipe.yaml"
    [ -z "${3-}" ] || echo "$3" >>"$tmp/recipe.yaml"
}
random="config: model.json, init: random, tokenizer: $source/examples/demo"
model "model: e, question: '{a}+{b}', max_new_tokens: 4" "$random"
try "$alignpro" run "$tmp/recipe.yaml"
exits 0 "random weights judge what is there"
err_has "align     is there already" "a judge's model is no part of what was trained"
out_has "no win rate, because" "random weights"
model "model: e, max_new_tokens: 40" "$random"
try "$alignpro" run "$tmp/recipe.yaml" --set run.dir=fresh --dry-run
err_has "which leaves no room for a reply of 40 in e's context of 128" "told before anything is trained"
try "$alignpro" run "$tmp/recipe.yaml"
exits 0 "questions that do not fit"
err_has "leave no room for a reply of 40 tokens" "too long"
err_has "warning" "too long"
out_has "no win rate, because" "too long"
try "$alignpro" run "$tmp/recipe.yaml"
err_has "eval      is there already" "what does not fit is not asked for ever"
sed 's/"num_hidden_layers": 2/"num_hidden_layers": 1/' "$tmp/model.json" >"$tmp/small.json"
model "model: e, question: '{a}+{b}', max_new_tokens: 4" "config: small.json, init: random, tokenizer: $source/examples/demo"
try "$alignpro" run "$tmp/recipe.yaml"
err_has "judges    done" "another model is asked anew"
sed -i 's/"initializer_range": 0.1/"initializer_range": 0.3/' "$tmp/small.json"
try "$alignpro" run "$tmp/recipe.yaml"
err_has "judges    done" "the same file, and it holds something else"
try "$alignpro" run "$tmp/recipe.yaml"
err_has "eval      is there already" "and now it is there"
# one that has learnt to say something
for word in otter "fox ab" Qz "u. ew" "  k9" "th,th" xyz "de:ly" "Wng 3" 77 "(oo" "i-i-i" '""' "s/t" "e e e" lmN; do
    for other in "a" "ing ed" "Zb 4" "!? :" "wq wq"; do
        echo "$word$other+$other$word who?" | sed 's/"/\\"/g; s/.*/{"prompt": "&", "response": "Verdict: tie"}/' >>"$tmp/ties.jsonl"
    done
done
sed 's/: tie/: A/' "$tmp/ties.jsonl" >"$tmp/firsts.jsonl"
learns="pretrain: {model: e, epochs: 30, batch: 8, lr: 1e-2"
model "model: e, question: '{a}+{b} who?', max_new_tokens: 20" "$random" "$learns, path: ties.jsonl}"
try "$alignpro" run "$tmp/recipe.yaml" --set run.dir=ties
exits 0 "a model that has learnt to say tie"
out_has "Judge j, Align-Pro against bare: wins 50%" "a model's ties"
out_has "0% contradicted, 0% without verdict" "a model's ties"
model "model: e, question: '{a}+{b} who?', max_new_tokens: 20" "$random" "$learns, path: firsts.jsonl}"
try "$alignpro" run "$tmp/recipe.yaml" --set run.dir=firsts
out_has "contradicts itself on" "a model that says A"
try "$alignpro" run "$tmp/recipe.yaml" --set run.dir=fresh --dry-run
exits 0 "the plan has a judge's model"
! grep -q "leaves no room" "$tmp/err"; note $? "a question that fits is said not to"
# the caches that a judge needs are planned for every answer that its question holds
sed 's/: 128,/: 4096,/; s/"num_hidden_layers": 2/"num_hidden_layers": 4/; s/"head_dim": 8/"head_dim": 64/' \
    "$tmp/model.json" >"$tmp/wide.json"
caches() { # QUESTION: MiB
    model "model: e, question: '$1', max_new_tokens: 8" "config: wide.json, init: random, tokenizer: $source/examples/demo"
    try "$alignpro" run "$tmp/recipe.yaml" --set run.dir=planned --set target.max_new_tokens=64 --dry-run
    awk '$1 == "eval" {print $8}' "$tmp/out"
}
once=$(caches '{a}{b}') often=$(caches '{a}{a}{a}{a}{b}{b}{b}{b}')
[ "$once" -gt 0 ] && [ "$often" -gt $((2 * once)) ]
note $? "a question with eight answers has $often MiB of caches in the plan, one with two $once"
model "model: e" "config: gone.json, init: random, tokenizer: $source/examples/demo"
try "$alignpro" run "$tmp/recipe.yaml" --set eval.judges=reward
exits 0 "a judge that is not asked need not be there"
try "$alignpro" run "$tmp/recipe.yaml"
refused 1 "models.e: " "one that is asked must"
model "model: nobody" "$random"
try "$alignpro" run "$tmp/recipe.yaml"
refused 1 "judges.j.model: " "no such model"
model "model: e, command: [cat]" "$random"
try "$alignpro" run "$tmp/recipe.yaml"
refused 1 "judges.j.model is given, and a command, too" "both"
model "model: e, max_new_tokens: 200" "$random"
try "$alignpro" run "$tmp/recipe.yaml"
refused 1 "judges.j.max_new_tokens: got 200" "no room for a question"

echo "$passed checks passed, $failed failed"
[ $failed = 0 ]
