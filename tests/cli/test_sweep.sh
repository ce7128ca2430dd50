#!/bin/sh
# sweep: what is refused before anything runs, what the runs share, tables and page, a value that fails, Ctrl-C and
# going on. On two layers of random weights, in memory where it can be.
#   test_sweep.sh ALIGNPRO          from the source folder
set -u
alignpro=$1
. tests/cli/checks.sh
counts() { # counts N TEXT NAME: lines of standard error with the text
    n=$(grep -cF -- "$2" "$tmp/err")
    [ "$n" = "$1" ]; note $? "$3: $n lines with '$2', expected $1"
}

# -- a recipe --
tiny_model model.json 2
tiny_pairs 24
cat >"$tmp/recipe.yaml" <<END
models:
  m: {config: model.json, init: random, tokenizer: $source/examples/demo}
pretrain: {model: m, path: rewrites.jsonl, batch: 8, lr: 1e-2}
prompter: {model: m, adapter: {rank: 2}, meta_prompt: "{prompt}", max_new_tokens: 8}
target: {model: m, adapter: {rank: 2}, max_new_tokens: 8}
reward: {model: m, adapter: {rank: 2}}
data: {path: pairs.jsonl, split: {train: 0.6, valid: 0.2, test: 0.2}}
sft: {source: file, path: rewrites.jsonl, epochs: 1, batch: 8}
reward_train: {batch: 8}
align: {prompts: 2, rewrites: 2, answers: 1, steps: 3, lr: 1e-2}
dpo: {batch: 4}
eval: {arms: [bare, sft, align, dpo], bootstrap: 20}
run: {dir: run, batch: 8}
END
recipe=$tmp/recipe.yaml
sweep() { try "$alignpro" sweep "$recipe" "$@"; }

# -- refused --
try "$alignpro" sweep; refused 2 "expected a recipe and KEY=V1,V2" "sweep alone"
sweep; refused 2 "expected a recipe and KEY=V1,V2" "no key"
sweep --frobnicate; refused 2 "frobnicate" "an unknown option"
try "$alignpro" sweep --help; exits 0 "--help"; out_has "usage: alignpro sweep RECIPE" "--help"
sweep align.k=1,2; refused 1 "no key 'align.k'; did you mean 'align.kl'?" "an unknown key"
sweep align.kl; refused 1 "align.kl has no value, expected align.kl=V1,V2" "no value"
sweep align.kl=; refused 1 "align.kl= has no value, expected align.kl=V1,V2" "no value after ="
sweep align.kl=0.1,,0.2; refused 1 "has an empty value" "an empty value"
sweep align.kl=0.1,; refused 1 "has an empty value" "a comma at the end"
sweep align.kl=0.05,0.1,0.05; refused 1 "align.kl has 0.05 and 0.05, which are the same" "a value twice"
sweep align.kl=0.05,5e-2; refused 1 "align.kl has 0.05 and 5e-2, which are the same" "a value twice, spelt otherwise"
sweep align.kl=0.1 align.kl=0.2; refused 1 "align.kl is given twice" "a key twice"
sweep align.kl=0.1,0.2 --set align.kl=0.3; refused 1 "align.kl is swept and set" "a key that is set"
sweep run.dir=a,b; refused 1 "run.dir may not be swept" "run.dir"
sweep eval.arms=bare,align; refused 1 "eval.arms may not be swept" "eval.arms"
sweep run.threads=1,2; refused 1 "run.threads changes no result" "run.threads"
sweep align.kl=0.1,much; refused 1 "align.kl is 'much'" "a value of another kind"
sweep rlhf.kl=0.1,0.2; refused 1 "eval.arms has no rlhf" "an arm that is not evaluated"
sweep align.steps=1,2,3,4,5,6,7 align.prompts=1,2,3,4,5; refused 1 "35 combinations, expected at most 32" "too many"
try "$alignpro" sweep "$tmp/absent.yaml" align.kl=1; refused 1 "absent.yaml" "no recipe"
[ ! -e "$tmp/run" ]; note $? "nothing is made by what is refused"

# -- the plan; the model takes 128 tokens, fewer than the shortest context that is ever offered --
sweep align.kl=0.1,0.5 --dry-run; exits 0 "--dry-run"
out_has "run 1 of 2: align.kl=0.1" "--dry-run"; out_has "run 2 of 2: align.kl=0.5" "--dry-run"
[ "$(grep -c '^peak ' "$tmp/out")" = 2 ]; note $? "--dry-run: other than two plans"
sweep align.kl=0.1,0.5 --dry-run --set run.memory=1MiB; refused 1 "align.kl=0.1: memory: " "--dry-run of what does not fit"
[ "$(grep -c '^peak ' "$tmp/out")" = 2 ]; note $? "--dry-run of what does not fit: other than two plans"
[ ! -e "$tmp/run" ]; note $? "--dry-run makes a folder"

# -- what is shared --
sweep align.kl=0.1,0.5
exits 0 "a sweep"
out_has "align.kl=0.1 " "a sweep"; out_has "align.kl=0.5 " "a sweep"
out_has "No knee under judge reward" "two points"
out_has "/run/sweep/report.html" "a sweep"
err_has "run 2 of 2: align.kl=0.5" "a sweep"
counts 5 "taken from" "pretrain, reward, sft and dpo of the second run, and the normaliser"
counts 1 "its normaliser is taken from" "the normaliser"
s=$tmp/run/sweep
file_has "run/sweep/sweep.json" '"align.kl": "0.5"' "json"
file_has "run/sweep/report.html" "Reward against KL, judged by reward" "the page"
[ "$(wc -l <"$s/sweep.csv")" -eq 3 ]; note $? "a header and two lines of CSV"
sweep align.kl=0.1,0.9 --dry-run; exits 0 "--dry-run after a sweep"
out_has "every stage is done already" "--dry-run after a sweep"
sed -n '/run 2 of 2: align.kl=0.9/,$p' "$tmp/out" | grep -q '^sft'; [ $? = 1 ]; note $? "--dry-run plans what another run has"
try "$alignpro" run "$recipe" --set align.kl=0.5 --set run.dir=alone; exits 0 "a run of its own"
cmp -s "$tmp/alone/eval.csv" "$s/align.kl=0.5/eval.csv"; note $? "the sweep's run is the run alone"

# -- again, and more --
cp "$s/sweep.json" "$tmp/before.json"
sweep align.kl=0.1,0.5; exits 0 "the same again"
counts 0 "taken from" "nothing is left to do"
cmp -s "$tmp/before.json" "$s/sweep.json"; note $? "and nothing changes"
sweep align.kl=0.02,0.1,0.5; exits 0 "one more value"
counts 5 "taken from" "the new run alone takes over, though it comes first"
[ "$(wc -l <"$s/sweep.csv")" -eq 4 ]; note $? "three lines of CSV"
sweep align.kl=0.1,0.2 align.steps=2,4; exits 0 "a grid"
out_has "align.kl=0.2, align.steps=4" "a grid"
[ -f "$s/align.kl=0.1,align.steps=2/eval.json" ]; note $? "folders of a grid"
file_has "run/sweep/report.html" "align.steps=2" "the grid's curves"
sweep eval.temperature=0.5,1; exits 0 "a key of eval"
counts 1 "the prompter learns from the reward" "training is the same for both"
counts 6 "taken from" "so the second run has all of the first"
sweep 'prompter.meta_prompt=say {prompt},{prompt} "now, please"'; exits 0 "a text, with a comma in quotes"
[ "$(ls -d "$s"/prompter.meta_prompt=* | wc -l)" -eq 2 ]; note $? "its folders"

# -- the frontier --
grep -q '"frontier": null' "$s/sweep.json"; note $? "no frontier without samples of a bound"
sweep align.kl=0.1,0.5 --set bound.rewrites=2 --set bound.answers=4 --set run.dir=bounded; exits 0 "with a bound section"
file_has "bounded/sweep/sweep.json" '"rewrites": 2' "the frontier of a bound's samples"
file_has "bounded/sweep/report.html" "closed-form frontier" "its curve"
sweep prompter.max_new_tokens=6,7 --set bound.rewrites=2 --set bound.answers=4 --set run.dir=moved; exits 0 "another start"
grep -q '"frontier": null' "$tmp/moved/sweep/sweep.json"; note $? "runs that start apart share no frontier"

# -- a value that fails --
sweep target.max_new_tokens=7,500,6 --set run.dir=other
refused 1 "target.max_new_tokens=500: target.max_new_tokens: got 500" "a value that cannot be run"
[ -f "$tmp/other/sweep/target.max_new_tokens=7/eval.json" ]; note $? "what was done stays"
[ ! -e "$tmp/other/sweep/target.max_new_tokens=6" ]; note $? "and the sweep ends there"
file_has "other/sweep/report.html" "not done" "the page says so"

# -- Ctrl-C --
: >"$tmp/err"
"$alignpro" sweep "$recipe" align.kl=0.3,0.4 --set align.steps=400 --set run.dir=stopped >"$tmp/out" 2>"$tmp/err" &
pid=$!
tries=0
until grep -q "run 2 of 2" "$tmp/err" || [ $tries -gt 600 ]; do tries=$((tries + 1)); sleep 0.05; done
kill -INT $pid
code=0
wait $pid || code=$?
refused 130 "align.kl=0.4: " "Ctrl-C in the second run"
sweep align.kl=0.3,0.4 --set align.steps=400 --set run.dir=stopped; exits 0 "the same command goes on"
[ "$(wc -l <"$tmp/stopped/sweep/sweep.csv")" -eq 3 ]; note $? "and ends"

echo "$passed checks passed, $failed failed"
[ $failed = 0 ]
