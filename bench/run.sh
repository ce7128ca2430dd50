#!/bin/sh
# Build and run the benchmarks of a build directory with short settings, and the same work in PyTorch
# beside them when PEER_PYTHON names a Python that has torch, transformers and peft.
#
#   bench/run.sh BUILD [stories] [135m] [tensor] [tokenizer] [engine] [serve]      all parts without a name
#
# BENCH_THREADS: threads of both sides (default: processors). ALIGNPRO_DATA: folder with
# models/stories260K-hf and datasets/ (default ../shared/data); parts that need it say so and are left
# out. BENCH_RUN: a run directory whose prompter the engine's part asks, that of `alignpro demo` say.
# Figures mean something on a machine that does nothing else.
set -u
build=$(realpath "${1:?usage: bench/run.sh BUILD [PART]...}")
shift
cd "$(dirname "$0")/.." || exit 1
threads=${BENCH_THREADS:-$(nproc)}
data=${ALIGNPRO_DATA:-../shared/data}
stories=$data/models/stories260K-hf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS="$threads"

ninja -C "$build" bench_tensor bench_generate bench_tokenizer bench_train bench_engine bench_serve >"$work/build.log" 2>&1 ||
    { cat "$work/build.log"; exit 1; }

title() {
    printf '\n== %s\n' "$*"
}

# One table out of both sides' lines: what, ours, theirs, ratio.
beside() {
    awk '
    FNR == 1 { side++ }
    $1 == "batch" {
        for (i = 3; i < NF; i++)
            if (($i == "prefill" || $i == "decode") && $(i + 1) + 0 > 0)
                put($i " batch " $2, $(i + 1))
    }
    $1 == "train" { put("train " $2, $3) }
    function put(what, rate) { # a figure that is missing on one side leaves the row out
        if (!(what in ours) && side == 1)
            order[++n] = what
        if (side == 1)
            ours[what] = rate
        else
            theirs[what] = rate
    }
    END {
        printf "%-20s %14s %14s %8s\n", "tokens/s", "alignpro", "PyTorch", "ratio"
        for (i = 1; i <= n; i++) {
            what = order[i]
            if (what in theirs)
                printf "%-20s %14.1f %14.1f %7.2fx\n", what, ours[what], theirs[what],
                       ours[what] / theirs[what]
        }
    }' "$1" "$2"
}

# model TITLE SEQUENCES ROUNDS NEW MODEL…: generation and training on one model, a folder or --config
# FILE
model() {
    title "$1"
    sequences=$2 rounds=$3 new=$4
    shift 4
    "$build/bench_generate" "$@" --batch 1,8 --new "$new" --rounds "$rounds" --threads "$threads" \
        >"$work/ours" && cat "$work/ours" || return
    "$build/bench_train" "$@" --length 128 --batch "$sequences" --steps "$rounds" \
        --threads "$threads" >"$work/train" && cat "$work/train" || return
    [ -n "${PEER_PYTHON:-}" ] || return
    "$PEER_PYTHON" -W ignore bench/peer_torch.py "$@" --batch 1,8 --new "$new" --length 128 \
        --sequences "$sequences" --rounds "$rounds" --threads "$threads" >"$work/peer" || return
    cat "$work/train" >>"$work/ours"
    title "$(head -1 "$work/peer")"
    beside "$work/ours" "$work/peer"
}

run_tensor() {
    title "operations"
    "$build/bench_tensor" "$threads"
}

# tokenizer NAME DIR FILE…: a row of ours, and rows of the Rust library on the same texts
tokenizer() {
    name=$1 dir=$2
    shift 2
    "$build/bench_tokenizer" "$dir" "$@" >"$work/ours" || return
    [ -z "${PEER_PYTHON:-}" ] || {
        "$build/bench_tokenizer" "$dir" --dump "$work/texts" "$@" &&
            "$PEER_PYTHON" bench/peer_tokenizers.py "$dir" "$work/texts" --runs 3 >"$work/peer" || return
        cat "$work/peer" >>"$work/ours"
    }
    awk -v name="$name" '
    {
        shift = $1 == "fast" ? 1 : 0
        if (NR == 1)
            ours = $6
        who = NR == 1 ? "alignpro" : shift ? "tokenizers, batch" : "tokenizers"
        printf "%-22s %-18s load %6.3f s  first %7.2f MB/s  best %7.2f MB/s  %9d tokens", name, who,
               $(2 + shift), $(4 + shift), $(6 + shift), $NF
        printf NR == 1 ? "\n" : "  %6.2fx\n", ours / $(6 + shift)
    }' "$work/ours"
}

run_tokenizer() {
    title "tokenizer, one thread"
    if [ ! -d "$data/tokenizers" ]; then
        echo "SKIP: $data/tokenizers is absent (set ALIGNPRO_DATA)"
        tokenizer demo examples/demo docs/formats.md
        return
    fi
    for name in llama-3.2-instruct qwen2.5-instruct phi-3-mini; do
        tokenizer "$name" "$data/tokenizers/$name" "$data"/datasets/helpsteer_500.jsonl \
            "$data"/datasets/ultrafeedback_binarized_train_1000.jsonl "$data"/datasets/orca_dpo_pairs_284.jsonl
    done
    tokenizer stories260K "$stories" "$data/datasets/tinystories_sample_2MiB.txt"
}

run_stories() {
    if [ -d "$stories" ]; then
        model "stories260K" 8 5 64 "$stories"
    else
        echo "SKIP: $stories is absent (set ALIGNPRO_DATA)"
    fi
}

run_engine() {
    title "the engine behind serve"
    if [ -d "${BENCH_RUN:-}" ]; then
        "$build/bench_engine" "$BENCH_RUN" --clients 1,8,32 --threads "$threads"
    else
        echo "SKIP: BENCH_RUN names no run directory"
    fi
}

run_135m() {
    model "a random Llama of 135M" 4 1 16 --config bench/configs/llama-135m.json
}

run_serve() {
    title "the proxy, rewriting off, before an upstream that answers after 20 ms"
    "$build/bench_serve" --seconds "${BENCH_SECONDS:-5}" --requests "${BENCH_REQUESTS:-100000}"
}

[ $# -gt 0 ] || set -- tensor tokenizer stories 135m engine serve
[ -n "${PEER_PYTHON:-}" ] || echo "PEER_PYTHON is not set: no figures of PyTorch"
for part in "$@"; do
    case $part in
    tensor | tokenizer | stories | 135m | engine | serve) "run_$part" ;;
    *)
        echo "bench/run.sh: no part '$part', expected tensor, tokenizer, stories, 135m, engine or serve" >&2
        exit 2
        ;;
    esac
done
