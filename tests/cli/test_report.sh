#!/bin/sh
# report RUN and report --compare: what they write, what they refuse and in which words. The runs are copies of
# one tiny run whose kept recipe is edited.
#   test_report.sh ALIGNPRO          from the source folder
set -u
alignpro=$1
. tests/cli/checks.sh
one_line() { [ "$(wc -l <"$tmp/err")" -eq 1 ]; note $? "$1: standard error is not one line"; } # no run, no other lines
absent() { [ ! -e "$tmp/$1" ]; note $? "$2: $1 was written"; }

# -- a run, and copies of it --
tiny_model model.json 1
tiny_pairs 40
i=0
while [ $i -lt 40 ]; do
    i=$((i + 1))
    echo "{\"prompt\": \"the <b>otter</b> $i\"}" >>"$tmp/test.jsonl"
done
head -4 "$tmp/test.jsonl" >"$tmp/few.jsonl"
cat >"$tmp/recipe.yaml" <<END
models:
  m: {config: model.json, init: random, tokenizer: $source/examples/demo}
prompter: {model: m, adapter: {rank: 2}, meta_prompt: "{prompt}", max_new_tokens: 6}
target: {model: m, adapter: {rank: 2}, max_new_tokens: 6}
reward: {rule: length, length: 9}
data: {path: pairs.jsonl, split: {train: 0.6, valid: 0.2, test: 0.2}}
sft: {source: none}
align: {prompts: 2, rewrites: 2, answers: 1, steps: 1}
rlhf: {}
eval: {arms: [bare, instruct, align, rlhf], bootstrap: 50, path: test.jsonl, seeds: [1, 2]}
run: {dir: one, batch: 8}
END
try "$alignpro" align "$tmp/recipe.yaml"; exits 0 "align"
try "$alignpro" report "$tmp/one"; refused 1 "has no evaluation yet; \`alignpro eval $tmp/one/recipe.yaml\` makes it" "a run without eval"
try "$alignpro" report --compare "$tmp/one" --out "$tmp/never"; refused 1 "has no evaluation yet" "comparing a run without eval"
absent never "comparing a run without eval"
try "$alignpro" run "$tmp/recipe.yaml"; exits 0 "run"
try "$alignpro" inspect "$tmp/one/run.db"; refused 1 "is an SQLite database" "inspect run.db"
file_has one/report.html "oneDNN " "a run's page names its libraries"
copy() { # NAME 's/of/recipe.yaml/'…
    cp -r "$tmp/one" "$tmp/$1"
    name=$1
    shift
    for edit; do sed -i "$edit" "$tmp/$name/recipe.yaml"; done
}
seed() { printf '/^run:/,$s/^  seed: 1/  seed: %s/' "$1"; }
label() { echo "label: $2" >>"$tmp/$1/recipe.yaml"; }
copy two "$(seed 2)"

# -- arguments --
try "$alignpro" report; refused 2 "no run directory, expected one" "report without a run"
try "$alignpro" report a b; refused 2 "--compare takes more" "report of two runs"
try "$alignpro" report --compare; refused 2 "no run directory" "--compare of nothing"
try "$alignpro" report --compare "$tmp/one"; refused 2 "--out is missing" "--compare without --out"
try "$alignpro" report "$tmp/one" --out "$tmp/x"; refused 2 "--out is an option of --compare" "--out alone"
try "$alignpro" report --frobnicate a; refused 2 "frobnicate" "an unknown option"
try "$alignpro" report "$tmp/nowhere"; refused 1 "is no run directory" "report of nothing"
try "$alignpro" report --help; exits 0 "report --help"; file_has out "usage: alignpro report RUN" "report --help"

# -- one run anew --
cp "$tmp/one/eval.json" "$tmp/eval.json"
rm "$tmp/one/report.html" "$tmp/one/eval.json" "$tmp/one/eval.csv" "$tmp/one/eval.tex"
try "$alignpro" report "$tmp/one"; exits 0 "report"; file_has out "Judged by reward" "report"
cmp -s "$tmp/one/eval.json" "$tmp/eval.json"; note $? "report: eval.json is not what eval wrote"
file_has one/report.html "In the paper's layout" "report"
file_has one/eval.csv "judge,arm,prompts,seeds" "report"
file_has one/eval.tex "\\begin{tabular}" "report"
cp "$tmp/one/report.html" "$tmp/again.html"
try "$alignpro" report "$tmp/one"
cmp -s "$tmp/one/report.html" "$tmp/again.html"; note $? "report: twice is another page"

try "$alignpro" report "$tmp/one//"; exits 0 "report with slashes"
cmp -s "$tmp/one/report.html" "$tmp/again.html"; note $? "report: slashes behind the folder make another page"
file_has out "The full report: $tmp/one//report.html" "report with slashes"

# -- several --
try "$alignpro" report --compare "$tmp/one" "$tmp/two" --out "$tmp/a/b"; exits 0 "compare"
file_has out "pairs, m and m (40 prompts, 2 runs)" "compare"
file_has out "1 cell has two to four runs" "compare"
file_has a/b/compare.json '"seeds": "run.seed 2"' "compare"
file_has a/b/compare.csv '"pairs","m","m",2,"reward","align",40,2,' "compare"
file_has a/b/compare.tex "pairs & m -- m &" "compare"
file_has a/b/report.html "Runs side by side" "compare"
try "$alignpro" report --compare "$tmp/one/" "$tmp/two/" --out "$tmp/a/slash/"; exits 0 "compare with slashes"
for f in compare.json report.html; do
    cmp -s "$tmp/a/b/$f" "$tmp/a/slash/$f"; note $? "compare: slashes behind the folders make another $f"
done
copy other
label other '{data: "HelpSteer & <b>_%", prompter: P2}'
try "$alignpro" report --compare "$tmp/one" "$tmp/two" "$tmp/other" --out "$tmp/c"; exits 0 "two cells"
file_has out "On average over 2 cells" "two cells"
file_has out "The same of the other arms: RLHF " "two cells"
file_has c/compare.tex 'HelpSteer \& \textless{}b\textgreater{}\_\% & P2 -- m' "two cells"
file_has c/report.html 'HelpSteer &amp; &lt;b&gt;_%' "two cells"
copy paper
label paper '{data: HelpSteer}'
try "$alignpro" report --compare "$tmp/paper" --out "$tmp/d"; exits 0 "the paper's data set"
file_has d/report.html 'the paper: HelpSteer<small>P2-F2' "the paper's data set"

# -- what would be a wrong mean --
refuse() { # WHAT PATTERN RUN…
    what=$1 pattern=$2
    shift 2
    try "$alignpro" report --compare "$@" --out "$tmp/never"
    refused 1 "$pattern" "$what"
    absent never "$what"
}
try "$alignpro" report --compare "$tmp/one" --out "$tmp/two"; refused 1 "two: is a run directory" "--out into a run"
try "$alignpro" report --compare "$tmp/one" --out "$tmp/pairs.jsonl"; refused 1 "pairs.jsonl" "--out is a file"
refuse "a run twice" "is named twice" "$tmp/one" "$tmp/two/../one"
copy same
refuse "a copy" "with the same seed" "$tmp/one" "$tmp/same"
copy else "$(seed 3)" '/^align:/,/^rlhf:/s/^  kl: .*/  kl: 0.2/'
refuse "another kl" "align.kl is 0.05 there and 0.2 here" "$tmp/one" "$tmp/else"
copy cooler "$(seed 3)" '/^eval:/,/^[a-z]*:$/s/^  temperature: .*/  temperature: 0.5/'
refuse "another temperature of eval" "eval.temperature is 1 there and 0.5 here" "$tmp/one" "$tmp/cooler"
copy fewer "$(seed 3)" 's/^  arms: .*/  arms: [bare, instruct, align]/'
refuse "another arm" "eval.arms has 'rlhf' and that of $tmp/fewer has not" "$tmp/one" "$tmp/fewer"
copy lone "$(seed 3)" 's/^  seeds: .*/  seeds: [1]/'
try "$alignpro" eval "$tmp/recipe.yaml" --set run.seed=3 --set eval.seeds=1 --set run.dir="$tmp/lone3"; exits 0 "eval with one seed"
refuse "fewer sampling seeds" "1 sampling seed" "$tmp/one" "$tmp/lone3"
try "$alignpro" eval "$tmp/recipe.yaml" --set run.seed=4 --set eval.path=few.jsonl --set run.dir="$tmp/few"; exits 0 "eval of four prompts"
refuse "other test prompts" "its test prompts are not those of $tmp/one" "$tmp/one" "$tmp/few"
copy torn
printf 'SQLite format 3' >"$tmp/torn/run.db"; rm -f "$tmp/torn/run.db-wal" "$tmp/torn/run.db-shm"
try "$alignpro" report "$tmp/torn"; refused 1 "torn/run.db" "a torn run.db"
refuse "a torn run.db among others" "torn/run.db" "$tmp/one" "$tmp/torn"
echo "align: {kl: banana}" >"$tmp/torn/recipe.yaml"
refuse "a torn recipe" "torn/recipe.yaml" "$tmp/one" "$tmp/torn"
refuse "no run" "is no run directory" "$tmp/one" "$tmp/a"

# -- too small a test set --
try "$alignpro" report "$tmp/few"; exits 0 "four prompts"
file_has out "fewer than 10 prompts give no intervals" "four prompts"
file_has few/eval.json '"low": null' "four prompts"
file_has few/report.html "4 prompts: too few for intervals" "four prompts"

# -- arms that are not there --
try "$alignpro" eval "$tmp/recipe.yaml" --set eval.arms=bare,align --set run.dir="$tmp/one"; exits 0 "two arms"
file_has out "without an RLHF arm the share of the gap is n/a" "two arms"
file_has one/report.html "n/a" "two arms"
file_has one/eval.tex "n/a & n/a" "two arms"
try "$alignpro" eval "$tmp/recipe.yaml" --set eval.arms=instruct,rlhf --set run.dir="$tmp/one"; exits 0 "neither bare nor align"
try "$alignpro" report --compare "$tmp/one" --out "$tmp/e"; exits 0 "neither bare nor align"
file_has out "Align-Pro and bare are not both among the arms: n/a" "neither bare nor align"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
