#!/bin/sh
# The bundled experiment: three worlds in the shapes of three data sets x two targets x two prompters x three
# seeds, and one report over all of them. The same command goes on where it was stopped.
# Usage: experiment.sh BUILD DIR. As many runs at once as there are processors, one thread each: that is
# faster than one run on all of them.
set -eu
build=$1
dir=$2
root=$(cd "$(dirname "$0")/.." && pwd)
alignpro=$(cd "$build" && pwd)/alignpro
recipe=$root/examples/experiment/recipe.yaml
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
export OMP_WAIT_POLICY=passive

# Both prompters on one target of one world under one seed. What other runs of the world have trained already is
# taken from them (run.from): targets, rewards and sft once for all seeds, rlhf once for both prompters.
pair() {
    world=$1 target=$2 seed=$3
    export EXPERIMENT_DATA="$dir/$world/data"
    # two targets run side by side: they begin with different prompters, and find the other's sft made
    case $target in f1) prompters="p1 p2" ;; *) prompters="p2 p1" ;; esac
    for prompter in $prompters; do
        name=$prompter-$target-seed$seed
        epochs=4
        [ "$world-$prompter" = orca-p1 ] && epochs=8 # docs/decisions/0007-experiment.md
        from=
        for other in "$dir/$world"/p?-f?-seed?; do
            [ "$other" != "$dir/$world/$name" ] && [ -f "$other/recipe.yaml" ] && from="$from${from:+,}$other"
        done
        echo "$world/$name begins"
        "$alignpro" run "$recipe" --set run.dir="$dir/$world/$name" --set run.threads=1 \
            --set prompter.model="$prompter" --set target.model="$target" --set pretrain.model="$target" \
            --set rewards.main.model="$target" --set rewards.heldout.model="$target" --set align.seed="$seed" \
            --set sft.epochs=$epochs --set label.data="$world" ${from:+--set run.from="$from"} \
            >"$dir/$world/$name.out" 2>>"$dir/$world/$name.log" ||
            { echo "$world/$name failed:"; tail -n 3 "$dir/$world/$name.log"; exit 255; } # 255 stops xargs, too
        echo "$world/$name is done"
    done
}

if [ $# -eq 5 ]; then
    pair "$3" "$4" "$5"
    exit
fi

worlds="ultrafeedback helpsteer orca"
for world in $worlds; do
    "$alignpro" demo --data-only --shape $world --rewrites 24000 --dir "$dir/$world" >/dev/null
done
for seed in 1 2 3; do
    for world in $worlds; do
        echo "$world f1 $seed"
        echo "$world f2 $seed"
    done
done | xargs -P "$(nproc)" -n 3 sh "$0" "$build" "$dir"

"$alignpro" report --compare "$dir"/ultrafeedback/p?-f?-seed? "$dir"/helpsteer/p?-f?-seed? \
    "$dir"/orca/p?-f?-seed? --out "$dir/report"
