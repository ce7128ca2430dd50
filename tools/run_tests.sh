#!/bin/sh
# Run every test program of a build directory, the checks of the tree, and print as the last line
# "N passed, N failed". Usage: run_tests.sh BUILD
set -u
build=$1
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1

passed=0
failed=0
for check in tools/check_layers.sh tools/check_sizes.sh tools/test_checks.sh; do
    if sh "$check" >"$build/$(basename "$check").log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $check"
        cat "$build/$(basename "$check").log"
    fi
done

log=$build/tests.log
echo "running the test programs (log: $log)"
ctest --test-dir "$build" --output-on-failure --timeout 600 >"$log" 2>&1
status=$?
n_failed=$(sed -n 's/^[0-9]*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\)$/\1/p' "$log")
n_all=$(sed -n 's/^[0-9]*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\)$/\2/p' "$log")
if [ -z "$n_all" ]; then
    cat "$log"
    echo "ctest ended with status $status and no summary"
    n_all=1
    n_failed=1
fi
[ "$n_failed" != 0 ] && cat "$log"
passed=$((passed + n_all - n_failed))
failed=$((failed + n_failed))

# what was skipped for want of reference data is said, not hidden
grep -h "SKIP:" "$build"/Testing/Temporary/LastTest.log 2>/dev/null | sort -u | head -20
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
