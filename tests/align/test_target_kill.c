/* kill -9 while the target over HTTP is asked: the next process goes on from the ledger, nothing
 * that it has is bought again, and what was bought twice was lost on the wire or in flight at a
 * kill. The server counts. */
#include "far_target.h"

#include "base/clock.h"
#include "base/random.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { N_PROMPT = 120, N_SAMPLE = 2, N_KEY = N_PROMPT * N_SAMPLE, STEP = 30, CONCURRENCY = 8 };

/* Asks for everything, in steps as a run does. */
static void ask_all(struct fault_server *s, const char *ledger)
{
    struct ap_error err;
    struct far_target f;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    far_init(&f);
    f.settings.http.concurrency = CONCURRENCY;
    f.settings.timeout = 0.5;
    far_open(&f, s, ledger, "/run/a");
    for (int i = 0; i < N_PROMPT; i += STEP)
        check_ok(far_ask(&f, i, STEP, N_SAMPLE, &err), err);
    far_close(&f);
}

static int64_t n_request(struct fault_server *s)
{
    struct fault_counts counts;
    fault_server_counts(s, &counts);
    return counts.n_request;
}

/* A process that is killed once the server has read so many requests, or has ended by then. How it
 * ended, as waitpid says. */
static int run_until(struct fault_server *s, const char *ledger, int64_t n_read)
{
    int how = 0;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        ask_all(s, ledger);
        _exit(0);
    }
    while (n_request(s) < n_read) {
        nanosleep(&(struct timespec){0, 200000}, NULL);
        if (waitpid(pid, &how, WNOHANG) == pid)
            return how;
    }
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    return how;
}

/* How often the server had been asked for each key when its answer was first seen in the ledger;
 * −1: it has none yet. */
static void note_answered(struct fault_server *s, const char *path, int64_t at[N_KEY])
{
    struct ap_error err;
    struct ap_ledger *ledger;
    n_request(s);
    check_ok(ap_ledger_open(&ledger, path, "/run/a", &err), err);
    for (int i = 0; i < N_KEY; i++) {
        const struct fault_seen *seen = fault_server_each(s, i);
        struct ap_ledger_answer a = {0};
        bool found = false;
        if (!seen)
            break;
        check_ok(ap_ledger_find(ledger, seen->key, &a, &found, &err), err);
        ap_ledger_answer_free(&a);
        if (at[i] >= 0)
            assert_true(found && seen->n_request == at[i]); /* and never again */
        else if (found)
            at[i] = seen->n_request;
    }
    ap_ledger_close(ledger);
}

static void test_kills(void **state)
{
    struct fault_config config = {.seed = 11, .latency = 0.01, .drip = 0.0005};
    struct ap_random random;
    struct far_target f;
    int64_t at[N_KEY];
    int n_kill = 0, how;
    char *path = scratch_path(state, "ledger.db");
    fault_config_mix(&config, 0.2, 0);
    config.rate[FAULT_STALL] = config.rate[FAULT_STALL_BODY] = 0.001;
    struct fault_server *s = fault_server_start(&config);
    ap_random_init(&random, &(struct ap_stream){.seed = (uint64_t)ap_clock_date()});
    for (int i = 0; i < N_KEY; i++)
        at[i] = -1;
    do {
        how = run_until(s, path, n_request(s) + ap_random_below(&random, check_full() ? 8 : 40));
        if (how != 0)
            assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
        n_kill += how != 0;
        note_answered(s, path, at);
    } while (how != 0 && n_kill < 1000);
    assert_int_equal(how, 0);
    far_init(&f);
    far_open(&f, s, path, "/run/a");
    struct ap_ledger_sums sums = far_sums(&f);
    struct fault_counts counts;
    fault_server_counts(s, &counts);
    print_message("  %d kills, %lld sends for %d answers: %lld lost, %lld unknown, %lld bought "
                  "twice\n",
                  n_kill, (long long)sums.n_send, N_KEY, (long long)sums.n_lost,
                  (long long)sums.n_unknown, (long long)(counts.n_bought - N_KEY));
    far_check_bought(&f, s, N_KEY, 1);
    assert_true(counts.n_whole - N_KEY <= sums.n_lost + sums.n_unknown);
    assert_true(sums.n_unknown <= n_kill * CONCURRENCY); /* what was in flight */
    assert_true(n_kill > 3);
    int64_t before = n_request(s);
    ask_all(s, path); /* every text, by this process */
    assert_int_equal(n_request(s), before);
    far_close(&f);
    fault_server_stop(s);
    ap_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kills, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
