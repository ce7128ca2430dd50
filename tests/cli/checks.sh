# What the tests of the program share: a folder of their own (in memory where it can be), checks that count, a tiny model.
# Sourced, from the source folder: . tests/cli/checks.sh
source=$(pwd)
where=${TMPDIR:-/tmp}
[ -w /dev/shm ] && where=/dev/shm
tmp=$(mktemp -d "$where/alignpro-cli-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
failed=0 passed=0
: >"$tmp/in"

# Its output, standard error and exit code are looked at below; standard input is $tmp/in, once.
try() {
    code=0
    "$@" >"$tmp/out" 2>"$tmp/err" <"$tmp/in" || code=$?
    : >"$tmp/in"
}
note() {
    if [ "$1" = 0 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: $2"
        sed 's/^/  out: /' "$tmp/out" | tail -6
        sed 's/^/  err: /' "$tmp/err" | tail -5
    fi
}
exits() { [ "$code" = "$1" ]; note $? "$2: exit code $code, expected $1"; }
out_has() { grep -qF -- "$1" "$tmp/out"; note $? "$2: output without: $1"; }
err_has() { grep -qF -- "$1" "$tmp/err"; note $? "$2: standard error without: $1"; }
file_has() { grep -qF -- "$2" "$tmp/$1"; note $? "$3: $1 without: $2"; }
# The last line of standard error is the message, and the only one of its kind.
one_line() {
    [ "$(grep -c '^alignpro' "$tmp/err")" -eq 1 ] && tail -n 1 "$tmp/err" | grep -q '^alignpro'
    note $? "$1: standard error does not end in its one message"
}
refused() { exits "$1" "$3"; err_has "$2" "$3"; one_line "$3"; }

tiny_model() { # FILE LAYERS: a config.json
    cat >"$tmp/$1" <<END
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 600, "hidden_size": 32,
 "num_hidden_layers": $2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
 "intermediate_size": 48, "hidden_act": "silu", "max_position_embeddings": 128, "rope_theta": 10000.0,
 "rms_norm_eps": 1e-05, "initializer_range": 0.1, "tie_word_embeddings": true, "bos_token_id": 0,
 "eos_token_id": 1, "torch_dtype": "float32"}
END
}
tiny_pairs() { # N: pairs.jsonl and rewrites.jsonl
    i=0
    while [ $i -lt "$1" ]; do
        i=$((i + 1))
        echo "{\"prompt\": \"fox $i\", \"chosen\": \"A fox.\", \"rejected\": \"No $i\"}" >>"$tmp/pairs.jsonl"
        echo "{\"prompt\": \"fox $i\", \"rewrite\": \"the fox\"}" >>"$tmp/rewrites.jsonl"
    done
}
