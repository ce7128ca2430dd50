/* Several processes with one ledger before one server, at the same moment: no answer is asked for
 * by two, each gets all, and one that is killed leaves to the others what it was asking for. */
#include "far_target.h"

#include "base/clock.h"
#include "base/random.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { N_PROMPT = 60, N_SAMPLE = 2, N_KEY = N_PROMPT * N_SAMPLE, STEP = 20, N_RUN = 3, SLOTS = 4 };

/* Stand before libc's: how many claims this process holds, and held at most; or a file system that
 * knows no such locks. */
static int n_claim, n_claim_most, no_locks;

static int watched_fcntl(int fd, int cmd, void *argument)
{
    static int (*real)(int, int, ...);
    const struct flock *lock = argument;
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fcntl64");
    if (cmd == F_OFD_SETLK && no_locks) {
        errno = no_locks;
        return -1;
    }
    int code = real(fd, cmd, argument);
    if (cmd != F_OFD_SETLK || code != 0)
        return code;
    n_claim = lock->l_len == 0 ? 0 : n_claim + (lock->l_type == F_UNLCK ? -1 : 1);
    n_claim_most = n_claim > n_claim_most ? n_claim : n_claim_most;
    return code;
}

#define WATCHED(name)                                                                              \
    int name(int fd, int cmd, ...)                                                                 \
    {                                                                                              \
        va_list list;                                                                              \
        va_start(list, cmd);                                                                       \
        void *argument = va_arg(list, void *);                                                     \
        va_end(list);                                                                              \
        return watched_fcntl(fd, cmd, argument);                                                   \
    }

#pragma GCC visibility push(default)
WATCHED(fcntl)
WATCHED(fcntl64)
#pragma GCC visibility pop

static int64_t n_request(struct fault_server *s)
{
    struct fault_counts counts;
    fault_server_counts(s, &counts);
    return counts.n_request;
}

static void pause_ms(int n)
{
    nanosleep(&(struct timespec){.tv_nsec = n * 1000000L}, NULL);
}

/* ---- processes ---- */

/* A run of its own that asks for everything, in steps, beginning at another one than its
 * neighbours. */
static void ask_all(struct fault_server *s, const char *ledger, int run)
{
    struct ap_error err;
    struct far_target f;
    char name[16];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(name, sizeof(name), "/run/%d", run);
    far_init(&f);
    f.settings.http.concurrency = SLOTS;
    far_open(&f, s, ledger, name);
    for (int i = 0; i < N_PROMPT; i += STEP)
        check_ok(far_ask(&f, (i + run / 2 * STEP) % N_PROMPT, STEP, N_SAMPLE, &err), err);
    far_close(&f);
}

static pid_t start(struct fault_server *s, const char *ledger, int run,
                   void (*ask)(struct fault_server *s, const char *ledger, int run))
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        ask(s, ledger, run);
        _exit(0);
    }
    return pid;
}

static void must_end(pid_t pid)
{
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
}

static void test_at_once(void **state)
{
    struct fault_config config = {.seed = 3, .latency = 0.002};
    struct fault_server *s = fault_server_start(&config);
    char *path = scratch_path(state, "ledger.db");
    pid_t pids[N_RUN];
    for (int i = 0; i < N_RUN; i++)
        pids[i] = start(s, path, i, ask_all);
    for (int i = 0; i < N_RUN; i++)
        must_end(pids[i]);
    assert_int_equal(n_request(s), N_KEY);
    fault_server_stop(s);
    ap_free(path);
}

/* ---- thousands in one call ---- */

enum { N_MANY = 3000, N_PAIR = 2 };
static atomic_int *n_opened; /* of the pair; shared by the processes */

/* One call for everything, from the first to the last or the other way around. */
static void ask_many(struct fault_server *s, const char *ledger, int run)
{
    static struct ap_target_request requests[N_MANY];
    static char prompts[N_MANY][FAR_PROMPT];
    static struct ap_answer out[N_MANY];
    struct ap_error err;
    struct far_target f;
    char name[16];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(name, sizeof(name), "/run/%d", run);
    far_init(&f);
    f.settings.http.concurrency = SLOTS;
    far_open(&f, s, ledger, name);
    for (int i = 0; i < N_MANY; i++)
        requests[i] = far_request(run == 0 ? i : N_MANY - 1 - i, prompts[i]);
    n_claim_most = 0;
    for (atomic_fetch_add(n_opened, 1); atomic_load(n_opened) < N_PAIR;) /* both begin at once */
        pause_ms(1);
    check_ok(f.target.answer(f.target.self, requests, N_MANY, 1, out, &err), err);
    assert_true(n_claim_most > 0 && n_claim_most <= 2 * SLOTS); /* in flight, and just answered */
    assert_int_equal(n_claim, 0);
    assert_true(far_sums(&f).n_answer > 0); /* neither is kept out */
    ap_answers_free(out, N_MANY);
    far_close(&f);
}

static void test_thousands(void **state)
{
    struct fault_server *s = fault_server_start(&(struct fault_config){.seed = 3});
    char *path = scratch_path(state, "ledger.db");
    pid_t pids[N_PAIR];
    n_opened =
        mmap(NULL, sizeof(*n_opened), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(n_opened != MAP_FAILED);
    for (int i = 0; i < N_PAIR; i++)
        pids[i] = start(s, path, i, ask_many);
    for (int i = 0; i < N_PAIR; i++)
        must_end(pids[i]);
    assert_int_equal(n_request(s), N_MANY);
    munmap(n_opened, sizeof(*n_opened));
    fault_server_stop(s);
    ap_free(path);
}

/* ---- killed ---- */

/* What was lost on the wire, and what the killed ones had in flight, may be asked for again;
 * nothing else is. */
static void test_killed(void **state)
{
    struct fault_config config = {.seed = 5, .latency = 0.002};
    fault_config_mix(&config, 0.1, 0);
    config.rate[FAULT_STALL] = config.rate[FAULT_STALL_BODY] = 0;
    struct fault_server *s = fault_server_start(&config);
    char *path = scratch_path(state, "ledger.db");
    struct ap_error err;
    struct ap_ledger *l;
    struct ap_random random;
    pid_t pids[N_RUN];
    int64_t n_sure = 0, n_lost = 0;
    uint64_t seed = (uint64_t)ap_clock_date();
    print_message("  seed %llu\n", (unsigned long long)seed);
    ap_random_init(&random, &(struct ap_stream){.seed = seed});
    for (int i = 0; i < N_RUN; i++)
        pids[i] = start(s, path, i, ask_all);
    for (int i = 1; i < N_RUN; i++) {
        int64_t until = n_request(s) + 8 + ap_random_below(&random, N_KEY / 4);
        for (int turn = 0; n_request(s) < until && turn < 1000; turn++)
            pause_ms(1);
        kill(pids[i], SIGKILL);
        assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
    }
    must_end(pids[0]);
    for (int i = 0; i < N_RUN; i++) {
        char name[16];
        struct ap_ledger_sums sums;
        snprintf(name, sizeof(name), "/run/%d", i);
        check_ok(ap_ledger_open(&l, path, name, &err), err);
        check_ok(ap_ledger_sum(l, "target", &sums, &err), err);
        ap_ledger_close(l);
        assert_true(sums.n_unknown <= (i == 0 ? 0 : SLOTS));
        n_sure += sums.n_answer;
        n_lost += sums.n_lost + sums.n_unknown;
    }
    struct fault_counts counts;
    fault_server_counts(s, &counts);
    assert_int_equal(n_sure, N_KEY); /* nothing is answered in two runs */
    assert_int_equal(counts.n_key, N_KEY);
    assert_true(counts.n_bought - N_KEY <= n_lost);
    fault_server_stop(s);
    ap_free(path);
}

/* ---- one that holds a key ---- */

struct holder {
    struct fault_server *server;
    struct ap_ledger *ledger; /* with a claim on key */
    char key[AP_LEDGER_KEY];
    int64_t n_wait; /* requests that the server gets before it goes on */
    bool answers;
};

/* Answers, or not, once all that is asked for without it has been. */
static void *hold(void *context)
{
    struct holder *h = context;
    struct ap_error err;
    struct ap_ledger_answer a = {
        .text = (char *)"from the other", .finish = (char *)"stop", .n_prompt = 1, .n_token = 1};
    while (n_request(h->server) < h->n_wait)
        pause_ms(1);
    if (h->answers) {
        check_ok(ap_ledger_intend(h->ledger, h->key, "target", "{}", 1, 0, &err), err);
        check_ok(ap_ledger_answer(h->ledger, h->key, &a, &err), err);
    }
    ap_ledger_release(h->ledger, h->key);
    return NULL;
}

/* The key of request 0's first sample. */
static void find_key(struct fault_server *s, const char *path, char out[AP_LEDGER_KEY])
{
    struct ap_error err;
    struct far_target f;
    far_init(&f);
    far_open(&f, s, path, "/run/before");
    check_ok(far_ask(&f, 0, 1, 1, &err), err);
    far_close(&f);
    n_request(s);
    memcpy(out, fault_server_each(s, 0)->key, AP_LEDGER_KEY);
}

/* Asks for three requests of two answers while another holds the first answer of the first. */
static void ask_beside(void **state, struct fault_server *s, int together, bool answers,
                       int64_t expected)
{
    enum { N = 3 };
    struct holder h = {.server = s, .answers = answers};
    struct ap_target_request requests[N];
    char prompts[N][FAR_PROMPT];
    struct ap_answer out[N * 2];
    struct ap_error err;
    struct far_target f;
    pthread_t thread;
    bool mine;
    char *path = scratch_path(state, "before.db"), *shared = scratch_path(state, "shared.db");
    char *link = scratch_path(state, "link.db");
    find_key(s, path, h.key);
    h.n_wait = n_request(s) + (together == 1 ? 2 * N - 1 : N - 1);
    assert_int_equal(symlink(shared, link), 0);
    check_ok(ap_ledger_open(&h.ledger, link, "/run/other", &err), err); /* by another name */
    check_ok(ap_ledger_claim(h.ledger, h.key, &mine, &err), err);
    assert_true(mine);
    far_init(&f);
    f.settings.together = together;
    far_open(&f, s, shared, "/run/mine");
    int64_t before = n_request(s);
    assert_int_equal(pthread_create(&thread, NULL, hold, &h), 0);
    for (int i = 0; i < N; i++)
        requests[i] = far_request(i, prompts[i]);
    check_ok(f.target.answer(f.target.self, requests, N, 2, out, &err), err);
    pthread_join(thread, NULL);
    assert_int_equal(n_request(s) - before, expected);
    assert_true((strcmp(out[0].text, "from the other") == 0) == answers);
    for (int i = 0; i < N * 2; i++)
        assert_true(out[i].text[0] && out[i].ended);
    ap_answers_free(out, N * 2);
    far_close(&f);
    ap_ledger_close(h.ledger);
    ap_free(link);
    ap_free(path);
    ap_free(shared);
}

static void test_waits_for_another(void **state)
{
    struct fault_server *s = fault_server_start(&(struct fault_config){.seed = 1});
    ask_beside(state, s, 1, true, 5);
    fault_server_stop(s);
}

static void test_takes_what_another_leaves(void **state)
{
    struct fault_server *s = fault_server_start(&(struct fault_config){.seed = 1});
    ask_beside(state, s, 1, false, 6);
    fault_server_stop(s);
}

/* Two other requests of two answers, and one of the answer that the other did not give. */
static void test_part_from_another(void **state)
{
    struct fault_server *s = fault_server_start(&(struct fault_config){.seed = 1});
    ask_beside(state, s, 2, true, 3);
    fault_server_stop(s);
}

static void test_stops_while_waiting(void **state)
{
    struct fault_server *s = fault_server_start(&(struct fault_config){.seed = 1});
    struct ap_ledger *other;
    struct far_target f;
    struct ap_error err;
    volatile sig_atomic_t stop = 1;
    char key[AP_LEDGER_KEY];
    bool mine;
    char *path = scratch_path(state, "before.db"), *shared = scratch_path(state, "shared.db");
    find_key(s, path, key);
    check_ok(ap_ledger_open(&other, shared, "/run/other", &err), err);
    check_ok(ap_ledger_claim(other, key, &mine, &err), err);
    far_init(&f);
    f.sink.stop = &stop;
    far_open(&f, s, shared, "/run/mine");
    assert_int_equal(far_ask(&f, 0, 1, 1, &err), AP_INTERRUPTED);
    check_holds(err.text, "run the same again");
    far_close(&f);
    ap_ledger_close(other);
    fault_server_stop(s);
    ap_free(path);
    ap_free(shared);
}

struct waiting {
    struct ap_ledger *other; /* with a claim on key */
    char key[AP_LEDGER_KEY];
    int n_note;
};

static void on_event(void *context, const struct ap_event *event)
{
    struct waiting *w = context;
    if (event->kind != AP_EVENT_NOTE)
        return;
    check_holds(event->text, "another run that shares the ledger");
    check_holds(event->text, "with 1 requests left");
    if (w->n_note++ == 0)
        ap_ledger_release(w->other, w->key);
}

/* It goes on with what is not claimed, then says what it waits for, once. */
static void test_says_what_it_waits_for(void **state)
{
    enum { N = 5 };
    struct fault_server *s = fault_server_start(&(struct fault_config){.seed = 1});
    struct waiting w = {0};
    struct far_target f;
    struct ap_error err;
    bool mine;
    char *path = scratch_path(state, "before.db"), *shared = scratch_path(state, "shared.db");
    find_key(s, path, w.key);
    check_ok(ap_ledger_open(&w.other, shared, "/run/other", &err), err);
    check_ok(ap_ledger_claim(w.other, w.key, &mine, &err), err);
    far_init(&f);
    f.sink = (struct ap_sink){.fn = on_event, .context = &w};
    far_open(&f, s, shared, "/run/mine");
    double began = ap_clock_seconds();
    check_ok(far_ask(&f, 0, N, 1, &err), err);
    assert_int_equal(w.n_note, 1);
    assert_true(ap_clock_seconds() - began > 4);
    assert_int_equal(far_sums(&f).n_answer, N);
    far_close(&f);
    ap_ledger_close(w.other);
    fault_server_stop(s);
    ap_free(path);
    ap_free(shared);
}

/* ---- no locks ---- */

static void on_warning(void *context, const struct ap_event *event)
{
    if (event->kind != AP_EVENT_WARN)
        return;
    check_holds(event->text, "ledger.db-asking: cannot be locked: ");
    check_holds(event->text, "may buy the same answers twice");
    ++*(int *)context;
}

static void test_without_locks(void **state)
{
    static const int codes[] = {ENOLCK, EINVAL, EOPNOTSUPP, ENOSYS};
    struct fault_server *s = fault_server_start(&(struct fault_config){.seed = 1});
    char *path = scratch_path(state, "ledger.db");
    for (size_t i = 0; i < AP_LEN(codes); i++) {
        struct far_target f;
        struct ap_error err;
        int n_warning = 0;
        far_init(&f);
        f.sink = (struct ap_sink){.fn = on_warning, .context = &n_warning};
        far_open(&f, s, path, "/run/mine");
        no_locks = codes[i];
        for (int k = 0; k < 2; k++)
            check_ok(far_ask(&f, (int)i * 10 + k * 5, 5, 1, &err), err);
        no_locks = 0;
        assert_int_equal(n_warning, 1);
        far_close(&f);
    }
    assert_int_equal(n_request(s), (int64_t)AP_LEN(codes) * 10);
    no_locks = EIO;
    struct far_target f;
    struct ap_error err;
    far_init(&f);
    far_open(&f, s, path, "/run/mine");
    assert_int_equal(far_ask(&f, 999, 1, 1, &err), AP_IO);
    check_holds(err.text, "cannot be locked");
    no_locks = 0;
    far_close(&f);
    fault_server_stop(s);
    ap_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_at_once, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_thousands, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_killed, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_waits_for_another, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_takes_what_another_leaves, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_part_from_another, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_without_locks, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_stops_while_waiting, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_says_what_it_waits_for, scratch_setup,
                                        scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
