/* Claims on keys: between handles and processes, the file's rights and owner, files that are none,
 * a file that is deleted or replaced while claims are held. */
#include "store/claims.h"

#include "base/scratch.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEY "0123456789abcdef0123"
#define OTHER "fedcba98765432100123"

/* A database, and the path of the file of claims beside it. */
static char *database, *asking;

static int set_up(void **state)
{
    if (scratch_setup(state) != 0)
        return -1;
    database = scratch_path(state, "ledger.db");
    asking = scratch_path(state, "ledger.db-asking");
    scratch_put(database, "x", 1);
    return 0;
}

static int tear_down(void **state)
{
    ap_free(database);
    ap_free(asking);
    return scratch_teardown(state);
}

static bool takes(struct ap_claims *c, const char *key)
{
    struct ap_error err;
    bool mine;
    check_ok(ap_claims_take(c, database, key, &mine, &err), err);
    return mine;
}

static void test_one_has_it(void **state)
{
    struct ap_claims a, b;
    (void)state;
    ap_claims_init(&a);
    ap_claims_init(&b);
    ap_claims_release(&a, KEY); /* nothing is held, no file is made */
    ap_claims_release(&a, NULL);
    assert_int_equal(access(asking, F_OK), -1);
    assert_true(takes(&a, KEY) && takes(&a, OTHER));
    assert_true(!takes(&b, KEY) && !takes(&b, OTHER));
    ap_claims_release(&b, KEY); /* not its own */
    assert_false(takes(&b, KEY));
    ap_claims_release(&a, KEY);
    assert_true(takes(&b, KEY) && !takes(&b, OTHER) && !takes(&a, KEY));
    ap_claims_release(&a, NULL);
    assert_true(takes(&b, OTHER));
    ap_claims_free(&b);
    assert_true(takes(&a, KEY) && takes(&a, OTHER));
    ap_claims_free(&a);
}

static void test_goes_with_the_process(void **state)
{
    struct ap_claims a;
    int ready[2];
    char byte;
    (void)state;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    ap_claims_init(&a);
    if (pid == 0) {
        bool mine = takes(&a, KEY);
        (void)!write(ready[1], &mine, 1);
        pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 1);
    assert_false(takes(&a, KEY));
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(takes(&a, KEY));
    ap_claims_free(&a);
    close(ready[0]);
}

/* ---- the file ---- */

static unsigned mode_of(const char *path)
{
    struct stat s;
    assert_int_equal(lstat(path, &s), 0);
    return s.st_mode & 0777;
}

static void take_once(void)
{
    struct ap_claims a;
    ap_claims_init(&a);
    assert_true(takes(&a, KEY));
    ap_claims_free(&a);
}

/* The database's rights, not the umask's; also where an older file has others. */
static void test_rights(void **state)
{
    static const mode_t modes[] = {0666, 0600, 0664, 0640};
    (void)state;
    mode_t before = umask(077);
    for (size_t i = 0; i < AP_LEN(modes); i++) {
        assert_int_equal(chmod(database, modes[i]), 0);
        take_once();
        assert_int_equal(mode_of(asking), modes[i]);
    }
    umask(before);
    scratch_put(asking, "mine", 4); /* somebody's own */
    assert_int_equal(chmod(asking, 0600), 0);
    take_once();
    assert_int_equal(mode_of(asking), 0600);
    scratch_expect(asking, "mine");
}

/* What root makes beside another's ledger that one can open. */
static void test_owner(void **state)
{
    enum { NOBODY = 65534 };
    struct stat s;
    (void)state;
    if (geteuid() != 0) {
        printf("SKIP: only root gives files away\n");
        skip();
    }
    assert_int_equal(chmod(database, 0600), 0);
    assert_int_equal(chown(database, NOBODY, NOBODY), 0);
    take_once();
    assert_int_equal(stat(asking, &s), 0);
    assert_true(s.st_uid == NOBODY && s.st_gid == NOBODY && (s.st_mode & 0777) == 0600);
}

static void test_other_files(void **state)
{
    struct ap_claims a;
    struct ap_error err;
    char *elsewhere = scratch_path(state, "elsewhere");
    bool mine;
    ap_claims_init(&a);
    assert_int_equal(symlink(elsewhere, asking), 0);
    assert_int_equal(ap_claims_take(&a, database, KEY, &mine, &err), AP_INVALID);
    check_holds(err.text, "ledger.db-asking: is a symbolic link");
    check_holds(err.text, "delete the link");
    assert_int_equal(access(elsewhere, F_OK), -1);
    assert_int_equal(unlink(asking), 0);
    assert_int_equal(mkdir(asking, 0700), 0);
    assert_int_equal(ap_claims_take(&a, database, KEY, &mine, &err), AP_IO);
    check_holds(err.text, "ledger.db-asking: cannot be opened");
    assert_int_equal(rmdir(asking), 0);
    assert_true(takes(&a, KEY)); /* after an error, too */
    ap_claims_free(&a);
    ap_free(elsewhere);
}

/* ---- deleted ---- */

/* The first one that claims something then has all of its claims in the new file. */
static void test_deleted(void **state)
{
    struct ap_claims a, b;
    struct ap_error line;
    (void)state;
    ap_claims_init(&a);
    ap_claims_init(&b);
    assert_true(takes(&a, KEY));
    assert_false(ap_claims_warns(&a, &line));
    assert_int_equal(unlink(asking), 0);
    assert_true(takes(&a, OTHER));
    assert_true(ap_claims_warns(&a, &line) && !ap_claims_warns(&a, &line));
    check_holds(line.text, "ledger.db-asking: was deleted or replaced");
    assert_true(!takes(&b, KEY) && !takes(&b, OTHER) && !ap_claims_warns(&b, &line));
    ap_claims_release(&a, KEY);
    assert_true(takes(&b, KEY) && !takes(&a, KEY));
    ap_claims_free(&a);
    ap_claims_free(&b);
}

static void test_replaced(void **state)
{
    struct ap_claims a, b;
    struct ap_error err;
    bool mine;
    (void)state;
    ap_claims_init(&a);
    ap_claims_init(&b);
    assert_true(takes(&a, KEY));
    assert_int_equal(unlink(asking), 0);
    assert_true(takes(&b, OTHER)); /* makes a new one */
    assert_false(takes(&a, OTHER));
    assert_false(takes(&b, KEY)); /* as a has looked there meanwhile */
    assert_int_equal(unlink(asking), 0);
    assert_int_equal(mkdir(asking, 0700), 0);
    assert_int_equal(ap_claims_take(&a, database, "77", &mine, &err), AP_IO);
    assert_int_equal(rmdir(asking), 0);
    ap_claims_free(&a);
    ap_claims_free(&b);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_one_has_it),  WITH_FOLDER(test_goes_with_the_process),
        WITH_FOLDER(test_rights),      WITH_FOLDER(test_owner),
        WITH_FOLDER(test_other_files), WITH_FOLDER(test_deleted),
        WITH_FOLDER(test_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
