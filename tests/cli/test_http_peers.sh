# Servers and clients that others wrote, with ALIGNPRO_TEST_FULL only: tools/check_openai_client.py and
# tools/check_http_target.py, with a Python that has openai and llama-cpp-python's server.
#   [PYTHON=python3] [ALIGNPRO_TEST_DEMO=FOLDER] test_http_peers.sh ALIGNPRO          from the source folder
# FOLDER is what `alignpro demo --dir FOLDER` left; without it a shorter one is made.
set -u
alignpro=$1
: "${PYTHON:=python3}"
[ -n "${ALIGNPRO_TEST_FULL-}" ] || exit 0
for module in openai llama_cpp.server; do
    "$PYTHON" -c "import $module" 2>/dev/null || {
        echo "SKIP: test_http_peers: $PYTHON has no $module (set PYTHON to one that has)"
        exit 0
    }
done
tmp=$(mktemp -d "${TMPDIR:-/tmp}/alignpro-peers-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
demo=${ALIGNPRO_TEST_DEMO:-$tmp/client/demo} failed=0
"$PYTHON" tools/check_openai_client.py --alignpro "$alignpro" --keep "$tmp/client" ${ALIGNPRO_TEST_DEMO:+--demo "$demo"} || failed=1
"$PYTHON" tools/check_http_target.py --alignpro "$alignpro" --keep "$tmp/target" --demo "$demo" --prompts 100 --steps 6 || failed=1
exit $failed
