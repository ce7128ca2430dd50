#!/bin/sh
# run, pretrain, sft, reward, align, rlhf, dpo, ift, eval, bound, rewrite, demo: good and bad arguments, recipes and data;
# exit codes, errors of one line. On two layers of random weights, in memory where it can be.
#   test_runs.sh ALIGNPRO          from the source folder
set -u
alignpro=$1
. tests/cli/checks.sh

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
align: {prompts: 2, rewrites: 2, answers: 1, steps: 2}
rlhf: {}
dpo: {batch: 4}
ift: {batch: 4}
eval: {arms: [bare, sft, align, rlhf, dpo, ift, best-of-n-answers], n: 2, bootstrap: 20}
run: {dir: run, batch: 8}
END
recipe=$tmp/recipe.yaml

# -- arguments --
for c in run pretrain sft reward align rlhf dpo ift eval; do
    try "$alignpro" $c; refused 2 "0 recipes, expected one" "$c without a recipe"
    try "$alignpro" $c a b; refused 2 "2 recipes, expected one" "$c with two recipes"
    try "$alignpro" $c --frobnicate "$recipe"; refused 2 "frobnicate" "$c with an unknown option"
    try "$alignpro" $c "$recipe" --set; refused 2 "--set" "$c with --set alone"
    try "$alignpro" $c --help; exits 0 "$c --help"; out_has "usage: alignpro $c RECIPE" "$c --help"
    try "$alignpro" $c "$tmp/absent.yaml"; refused 1 "absent.yaml" "$c of no file"
done

# a name that is empty is no folder, and not the one where the program was started
empty() { try "$alignpro" "$@"; refused 2 "${named:-needs a value}" "$1 with an empty name"; }
empty demo --data-only --dir ""
empty demo --data-only --dir=
empty rewrite --run "" x
empty export --format peft --run "" --out "$tmp/x"
empty export --format peft --run "$tmp/run" --out ""
empty generate --model "" x
empty report --compare "$tmp/a" "$tmp/b" --out ""
empty run "$recipe" --set ""
named="argument 1 is empty"
for c in run report inspect; do empty $c ""; done
empty sweep "" align.kl=1
named="argument 2 is empty"
empty report --compare --out "$tmp/x" "$tmp/a" ""

# -- recipes --
try "$alignpro" run "$recipe" --set align.klx=1; refused 1 "align.kl" "an unknown key in --set"
try "$alignpro" run "$recipe" --set align.kl=-1; refused 1 "align.kl" "a number out of range"
try "$alignpro" run "$recipe" --set align.steps=many; refused 1 "align.steps" "a word for a number"
sed 's/epochs: 1/epoch: 1/' "$recipe" >"$tmp/typo.yaml"
try "$alignpro" run "$tmp/typo.yaml"; refused 1 "typo.yaml:8:" "an unknown key"; err_has "sft.epochs" "an unknown key"
sed 's/model: m, path/model: n, path/' "$recipe" >"$tmp/name.yaml"
try "$alignpro" run "$tmp/name.yaml"; refused 1 "pretrain.model" "a model that is not there"
[ ! -e "$tmp/run" ]; note $? "a recipe that is refused leaves no directory"

# -- stages that the recipe does not ask for --
sed -e '/^pretrain/d' -e '/^rlhf/d' -e '/^dpo/d' -e '/^ift/d' -e 's/, rlhf, dpo, ift//' -e 's/^sft:.*/sft: {source: none}/' \
    -e 's/^reward:.*/reward: {rule: length, length: 9}/' "$recipe" >"$tmp/small.yaml"
for c in pretrain sft reward rlhf dpo ift; do
    try "$alignpro" $c "$tmp/small.yaml" --set run.dir=small
    refused 1 "the recipe asks for no $c" "$c of a recipe without it"
done

# -- data --
data() { # NAME TEXT PART
    rm -rf "$tmp/bad"
    try "$alignpro" reward "$recipe" --set run.dir=bad --set "reward_train.path=$1"
    refused 1 "$1" "$2"; err_has "$3" "$2"
    [ ! -e "$tmp/bad/reward/DONE" ]; note $? "$2: the stage is not done"
}
: >"$tmp/empty.jsonl"
head -c 4000 "$alignpro" >"$tmp/binary.jsonl"
echo '{"colour": "red"}' >"$tmp/schema.jsonl"
{ cat "$tmp/pairs.jsonl"; echo '{"prompt": "fox", "chosen"'; } >"$tmp/broken.jsonl"
data absent.jsonl "a data file that is missing" "No such file"
sed 's/pairs.jsonl/"${AP_TEST_NOWHERE:-no}\/pairs.jsonl"/' "$recipe" >"$tmp/variable.yaml"
try "$alignpro" run "$tmp/variable.yaml"; refused 1 "data.path: $tmp/no/pairs.jsonl" "data by a variable that is not set"
err_has "the recipe makes this path of AP_TEST_NOWHERE, which is not set" "data by a variable that is not set"
try env AP_TEST_NOWHERE=/nowhere "$alignpro" run "$tmp/variable.yaml"; refused 1 "data.path: /nowhere/pairs.jsonl" "data by a wrong variable"
err_has "AP_TEST_NOWHERE, which is /nowhere" "data by a wrong variable"
sed 's/config: model.json/config: "${AP_TEST_NOWHERE:-no}\/model.json"/' "$recipe" >"$tmp/variable.yaml"
try "$alignpro" run "$tmp/variable.yaml"; refused 1 "models.m: $tmp/no/model.json" "a model by a variable that is not set"
err_has "AP_TEST_NOWHERE, which is not set" "a model by a variable that is not set"
try "$alignpro" run "$tmp/variable.yaml" --set "models.m.config=absent.json"; refused 1 "models.m: $tmp/absent.json" "a model by --set over a variable"
! grep -q AP_TEST_NOWHERE "$tmp/err"; note $? "--set over a variable still tells of it"
data empty.jsonl "an empty data file" "empty"
data binary.jsonl "a binary data file" "binary.jsonl"
data schema.jsonl "data of another schema" "schema.jsonl:1"
data broken.jsonl "too many bad lines" "data.bad_lines"
rm -rf "$tmp/bad"
try "$alignpro" reward "$recipe" --set run.dir=bad --set reward_train.path=broken.jsonl --set data.bad_lines=10%
exits 0 "few bad lines"; err_has "broken.jsonl:25" "few bad lines"; err_has "; 1 malformed" "few bad lines"

# -- a directory that cannot be --
echo text >"$tmp/file"
try "$alignpro" run "$recipe" --set run.dir=file/run; refused 1 "is a file, expected a directory" "a run below a file"

# -- rewrite before anything is done --
try "$alignpro" rewrite "a fox"; refused 2 "--run is missing" "rewrite without a run"
try "$alignpro" rewrite --run "$source" "a fox"; refused 1 "is no run directory" "rewrite of another folder"
mkdir "$tmp/only-recipe" && cp "$tmp/recipe.yaml" "$tmp/only-recipe"
try "$alignpro" rewrite --run "$tmp/only-recipe" "a fox"; refused 1 "it has no run.db" "rewrite of a recipe's own folder"
try "$alignpro" rewrite --run "$tmp/run" a fox; refused 2 "2 texts, expected one" "rewrite of two texts"
try "$alignpro" rewrite --run "$tmp/run" --temperature hot x; refused 2 "'hot'" "rewrite with a word for a number"
try "$alignpro" rewrite --run "$tmp/run" --temperature 1e-9 x; refused 2 "expected 0 or a number from 0.001" "rewrite with a tiny temperature"
try "$alignpro" rewrite --help; exits 0 "rewrite --help"; out_has "--temperature" "rewrite --help"

# -- the stages, and the rewriter after each --
try "$alignpro" pretrain "$recipe"; exits 0 pretrain; err_has "pretrain  done" pretrain
try "$alignpro" rewrite --run "$tmp/run" "a fox"; exits 0 "rewrite after pretrain"
err_has "this is the prompter before any training" "rewrite after pretrain"
try "$alignpro" sft "$recipe"; exits 0 sft; err_has "pretrain  is there already" sft
try "$alignpro" rewrite --run "$tmp/run" "a fox"; err_has "after sft" "rewrite after sft"
try "$alignpro" align "$recipe"; exits 0 align; err_has "reward    done" "align brings its reward"
[ ! -e "$tmp/run/rlhf" ]; note $? "align does not need rlhf"
try "$alignpro" dpo "$recipe"; exits 0 dpo; err_has "held-out pairs in the right order" dpo
[ ! -e "$tmp/run/rlhf" ] && [ ! -e "$tmp/run/ift" ]; note $? "dpo needs neither rlhf nor ift"
try "$alignpro" ift "$recipe"; exits 0 ift; err_has "ift       done" ift
try "$alignpro" eval "$recipe"; exits 0 eval; out_has "judge: reward" eval; out_has "run/report.html" eval
for f in report.html eval.json eval.csv run.db recipe.yaml rlhf/DONE dpo/final/adapter_config.json ift/final/adapter_config.json align/final/adapter_config.json; do
    [ -s "$tmp/run/$f" ]; note $? "after eval there is no $f"
done
try "$alignpro" run "$recipe"; exits 0 "run again"; err_has "eval      is there already" "run again"
out_has "judge: reward" "run again"
"$alignpro" run "$recipe" >&- 2>"$tmp/err" <"$tmp/in"; code=$?
exits 1 "run with closed output"; err_has "cannot write the output" "run with closed output"
rm "$tmp/run/run.db"
try "$alignpro" run "$recipe"; exits 0 "run without its run.db"; out_has "judge: reward" "run without its run.db"
try "$alignpro" run "$recipe"; exits 0 "run after that"; err_has "eval      is there already" "run after that"
head -c 9000 /dev/urandom >"$tmp/run/run.db"
try "$alignpro" run "$recipe"; refused 1 "move the file away" "a damaged run.db"
rm "$tmp/run/run.db"
try "$alignpro" eval "$recipe"; exits 0 "eval after a damaged run.db"; out_has "judge: reward" "eval after a damaged run.db"
try "$alignpro" run "$recipe" --set align.kl=0.5; refused 1 "align.kl" "another recipe in the same folder"
try "$alignpro" run "$recipe" --set align.kl=0.5 --dry-run; refused 1 "made by another recipe" "a plan for another recipe's folder"
try "$alignpro" run "$recipe" --set run.threads=2 --set run.batch=4; exits 0 "keys that change nothing"

# -- rewrite --
try "$alignpro" rewrite --run "$tmp/run" "a fox"; exits 0 rewrite
[ ! -s "$tmp/err" ]; note $? "rewrite after align says nothing"
cp "$tmp/out" "$tmp/first"
try "$alignpro" rewrite --run "$tmp/run" "a fox"; cmp -s "$tmp/out" "$tmp/first"; note $? "rewrite twice is the same"
printf '%s\n' '{"prompt": "a fox"}' '{"prompt": 3}' 'not json' '{"prompt": "a bear"}' >"$tmp/in"
try "$alignpro" rewrite --run "$tmp/run" --temperature 1 --seed 4
exits 1 "rewrite of lines"
[ "$(wc -l <"$tmp/out")" -eq 4 ]; note $? "rewrite gives a line for a line"
[ "$(grep -c '"rewrite"' "$tmp/out")" -eq 2 ] && [ "$(grep -c '"error"' "$tmp/out")" -eq 2 ]
note $? "rewrite of two good and two bad lines"
out_has '"fell_back"' "rewrite of lines"
long=$(head -c 2000 /dev/zero | tr '\0' q)
echo '{"prompt": "a fox"}' >"$tmp/in"
try "$alignpro" rewrite --run "$tmp/run" -; exits 0 "rewrite -"; file_has out '{"rewrite": ' "rewrite of standard input"
try "$alignpro" rewrite --run "$tmp/run" "$long"; refused 1 "over the limit of" "rewrite of a long prompt"
for blank in "" "   " "$(printf '\t\n \302\240')"; do
    try "$alignpro" rewrite --run "$tmp/run" "$blank"; refused 1 "the prompt is" "rewrite of a blank prompt"
    try "$alignpro" rewrite --run "$tmp/run" --fallback error "$blank"; refused 1 "expected a text to rewrite" "rewrite --fallback error of a blank prompt"
done
printf '%s\n' '{"prompt": "a fox"}' '{"prompt": " \n"}' '{"prompt": ""}' '{"prompt": "\u0000 fox"}' >"$tmp/in"
try "$alignpro" rewrite --run "$tmp/run"; exits 1 "rewrite of blank lines"
out_has '{"error": "line 2: the prompt is white space only' "rewrite of blank lines"
out_has '{"error": "line 3: the prompt is empty' "rewrite of blank lines"
out_has '{"error": "line 4: ' "rewrite of a line with a NUL"; out_has 'NUL character' "rewrite of a line with a NUL"

# -- guards --
set_of() { "$alignpro" rewrite --run "$tmp/run" --set "guard.$1" --fallback "$2" "fox 12"; }
try set_of max_length=1 x; exits 0 "rewrite with a guard"
[ "$(cat "$tmp/out")" = "fox 12" ]; note $? "the prompt is given back"
err_has "guard length: the rewrite has" "rewrite with a guard"; one_line "rewrite with a guard"
try set_of max_length=1 error; refused 1 "guard length: the rewrite has" "rewrite --fallback error"
[ ! -s "$tmp/out" ]; note $? "rewrite --fallback error writes no text"
printf '%s\n' '{"prompt": "fox 12"}' >"$tmp/in"
try "$alignpro" rewrite --run "$tmp/run" --set guard.protect=number,url --set guard.similarity=1
exits 0 "guards of lines"; out_has '"rewrite": "fox 12"' "guards of lines"
out_has '"guard": "' "guards of lines"; out_has '"why": "' "guards of lines"
try set_of max_length=1 y; refused 2 "--fallback is 'y'" "a fallback of another name"
try set_of similarity=2 x; refused 1 "guard.similarity" "a guard out of range"
try "$alignpro" rewrite --run "$tmp/run" --set align.kl=0 x; refused 1 "is no key of guard" "another key in rewrite"
try "$alignpro" eval "$recipe" --set guard.max_length=1; exits 0 "eval with a guard"
out_has "the prompt was sent as it is (length" "eval with a guard"
grep -q '"length": [1-9]' "$tmp/run/eval.json"; note $? "eval.json without the guards that fired"
grep -q "the prompt was sent as it is" "$tmp/run/report.html"; note $? "report.html without the guards"
try "$alignpro" eval "$recipe"; exits 0 "eval without guards"
grep -q '"length": [1-9]' "$tmp/run/eval.json"; [ $? = 1 ]; note $? "guards of another evaluation are dropped"

# -- noise --
try "$alignpro" align "$recipe" --set run.dir=noisy --set align.noise=50%; exits 0 "align with noise"
[ -s "$tmp/noisy/align/DONE" ]; note $? "align with noise is not done"
try "$alignpro" align "$recipe" --set run.dir=noisy; refused 1 "align.noise" "the same without noise"
try "$alignpro" align "$recipe" --set align.noise=2; refused 1 "align.noise" "too much noise"

try "$alignpro" eval "$recipe" --set eval.noise=20%,5%; refused 1 "expected rising strengths" "strengths in disorder"
try "$alignpro" eval "$recipe" --set eval.noise=2; refused 1 "eval.noise" "a strength out of range"
try "$alignpro" align "$recipe" --noise; refused 2 "--noise is an option of eval" "--noise of another stage"
cp "$tmp/run/eval.json" "$tmp/before.json"
try "$alignpro" eval "$recipe" --noise; exits 0 "eval --noise"; out_has "With 20% noise in the prompts" "eval --noise"
grep -q '"strength": 0.05' "$tmp/run/eval.json"; note $? "eval.json without the strengths"
grep -q "Noise in the prompts" "$tmp/run/report.html"; note $? "report.html without the noise"
try "$alignpro" eval "$recipe" --set eval.noise=5%,20%; exits 0 "fewer strengths"
err_has "eval      is there already" "fewer strengths are there already"
try "$alignpro" eval "$recipe"; exits 0 "eval without noise"; err_has "eval      is there already" "eval without noise"
cmp -s "$tmp/run/eval.json" "$tmp/before.json"; note $? "noise disturbs the evaluation without it"

# -- bound --
few="--set bound.rewrites=2 --set bound.answers=2 --set bound.scored=1"
try "$alignpro" bound "$recipe" $few; exits 0 "bound"; out_has "prompting can reach between" "bound"
grep -q "not available" "$tmp/out"; [ $? = 1 ]; note $? "bound with rlhf has every term"
grep -q '"check": "' "$tmp/run/bound.json"; note $? "bound.json without the check"
grep -q "How far prompting can get" "$tmp/run/report.html"; note $? "report.html without the bound"
try "$alignpro" bound "$recipe" $few --set bound.bootstrap=9; exits 0 "bound again"
err_has "bound     is there already" "bound again"
try "$alignpro" bound "$recipe" --set bound.answers=1; refused 1 "bound.answers" "bound with one answer"
sed -e '/^rlhf/d' -e 's/, rlhf//' "$recipe" >"$tmp/norlhf.yaml"
try "$alignpro" bound "$tmp/norlhf.yaml" --dry-run --set run.dir=norlhf; exits 0 "bound --dry-run"; out_has "bound" "bound --dry-run"
try "$alignpro" bound "$tmp/norlhf.yaml" $few --set run.dir=norlhf; exits 0 "bound without rlhf"
out_has "not available: the recipe has no rlhf section" "bound without rlhf"
try "$alignpro" run "$recipe"; exits 0 "run without a bound section"
grep -q "^bound " "$tmp/err"; [ $? = 1 ]; note $? "run does not ask for a bound of its own"

# -- demo --
try "$alignpro" demo --help; exits 0 "demo --help"; out_has "--dir" "demo --help"
try "$alignpro" demo --seed x; refused 2 "got 'x'" "demo with a word for a seed"
try "$alignpro" demo --seed -1; refused 2 "got '-1'" "demo with a negative seed"
try "$alignpro" demo here; refused 2 "'here' is not expected" "demo with an argument"
try "$alignpro" demo --shape alpaca --data-only --dir "$tmp/shape"; refused 1 "got 'alpaca', expected ultrafeedback" "demo of an unknown shape"
try "$alignpro" demo --data-only --rewrites 0; refused 2 "got '0'" "demo without rewrites"
try "$alignpro" demo --data-only --set align.kl=1; refused 2 "--data-only" "demo with a key and no recipe"
for shape in helpsteer orca; do # in the schema of the data set, read by its reader
    try "$alignpro" demo --data-only --shape $shape --rewrites 50 --dir "$tmp/$shape"; exits 0 "demo --data-only --shape $shape"
    [ ! -e "$tmp/$shape/recipe.yaml" ]; note $? "demo --data-only: a recipe was written"
    [ "$(wc -l <"$tmp/$shape/data/rewrites.jsonl")" -eq 50 ]; note $? "demo --rewrites 50: other than 50 lines"
    try "$alignpro" inspect "$tmp/$shape/data/preferences.jsonl"; out_has "schema      $shape" "inspect of $shape's preferences"
done
# data that a run was made from are not replaced, and nothing is written before all is looked at
mkdir "$tmp/helpsteer/run" && cp "$recipe" "$tmp/helpsteer/run"
cp "$tmp/helpsteer/data/world.json" "$tmp/world.json"
other() { # TEXT EXPECTED OPTION...
    text=$1 expected=$2
    shift 2
    try timeout 60 "$alignpro" demo --dir "$tmp/helpsteer" --rewrites 50 "$@"; refused 1 "$expected" "$text"
    cmp -s "$tmp/world.json" "$tmp/helpsteer/data/world.json"; note $? "$text: the data were replaced"
    [ ! -e "$tmp/helpsteer/recipe.yaml" ]; note $? "$text: a recipe was written"
}
other "demo of another shape" 'made from other data: shape is "helpsteer" there and "orca" here' --shape orca
other "demo of another seed" 'seed is 1 there and 2 here' --shape helpsteer --seed 2
other "demo of another length" 'rewrites.jsonl is 50 there and 60 here' --shape helpsteer --rewrites 60
other "demo --data-only of another seed" 'seed is 1 there and 2 here' --shape helpsteer --seed 2 --data-only
other "demo beside a run of other data" 'helpsteer/run: was made from' --shape orca --set run.dir=run2
other "demo of another recipe" 'made by another recipe' --shape helpsteer
other "demo of an unknown key" 'align.kl' --shape helpsteer --set align.klx=1
try "$alignpro" demo --data-only --shape helpsteer --rewrites 50 --dir "$tmp/helpsteer"; exits 0 "demo --data-only again"
try "$alignpro" demo --dir "$tmp/file/demo"; refused 1 "file" "demo below a file"
try "$alignpro" demo --dir "$tmp/demo" --set align.klx=1; refused 1 "align.kl" "demo with an unknown key"
[ ! -e "$tmp/demo" ]; note $? "demo with an unknown key leaves a folder"

# -- every model of a list of prompters belongs to what was made of them --
cp "$tmp/model.json" "$tmp/second.json"
sed -e "s|^  m: .*|&\n  k: {config: second.json, init: random, tokenizer: $source/examples/demo}|" -e 's/bare.*best-of-n-answers/bare, align/' \
    -e 's/^prompter:.*/prompter:\n  - {model: m, adapter: {rank: 2}, meta_prompt: "{prompt}", max_new_tokens: 8}\n  - {model: k, adapter: {rank: 2}, meta_prompt: "{prompt}", max_new_tokens: 8}/' \
    "$tmp/small.yaml" >"$tmp/list.yaml"
try "$alignpro" run "$tmp/list.yaml" --set run.dir=list; exits 0 "a list of prompters"
sed -i 's/"initializer_range": 0.1/"initializer_range": 0.2/' "$tmp/second.json"
try "$alignpro" run "$tmp/list.yaml" --set run.dir=list --set eval.seeds=1,2
refused 1 "second.json, which holds something else now" "the second prompter's model"

# -- what a run keeps is UTF-8 --
latin=$tmp/$(printf 'caf\351')
mkdir "$latin" && cp "$tmp/small.yaml" "$latin"
try "$alignpro" run "$latin/small.yaml"
refused 1 "is in a folder whose name is not UTF-8" "a folder in Latin-1"

# -- what stands beside a model's weights belongs to what was made of them --
mkdir "$tmp/tok" && cp "$source"/examples/demo/tokenizer*.json "$tmp/tok"
sed -e "s|$source/examples/demo|tok|" -e 's/steps: 2}/steps: 1}/' -e 's/bare.*best-of-n-answers/bare, align/' \
    "$tmp/small.yaml" >"$tmp/beside.yaml"
beside() { try "$alignpro" run "$tmp/beside.yaml" --set run.dir=beside; }
beside; exits 0 "a tokenizer in a folder of its own"
touch "$tmp/tok/tokenizer.json"
beside; err_has "eval      is there already" "the same files, touched"
echo '{"eos_token_id": 1}' >"$tmp/tok/generation_config.json"
beside; refused 1 "generation_config.json, which is there now; take it away" "a file that came"
rm "$tmp/tok/generation_config.json"
truncate -s 257M "$tmp/tok/other.safetensors"
beside; exits 0 "other weights in the folder"
rm -r "$tmp/beside"
beside; exits 0 "made with them"
touch -d 2020-01-01 "$tmp/tok/other.safetensors"
beside; refused 1 "too large to be read at every start" "a large file that was written since"
rm "$tmp/tok/other.safetensors"
beside; exits 0 "without them"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
