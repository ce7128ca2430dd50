/* Keys (secret.h). */
#include "net/secret.h"

#include "base/memory.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_MAX = 4096, SHORT = 8, NAME_MAX_SHOWN = 32 };

/* A key lies in our memory and in that of the library that sends it: no core, whatever the pattern
 * of cores is. */
static void refuse_cores(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
}

/* The file as the one that it was looked at as. */
static ap_status read_file(const char *path, const char *who, char text[SECRET_MAX + 1],
                           struct ap_error *err)
{
    struct stat info;
    ap_status status = AP_OK;
    size_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ap_fail_errno(err, errno, "%s: the key file %s", who, path);
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        AP_TRY(ap_fail(err, AP_INVALID, "%s: the key file %s is no file", who, path));
    if (info.st_mode & 077)
        AP_TRY(ap_fail(err, AP_INVALID,
                       "%s: the key file %s has mode %04o, expected 0600: others may read it; "
                       "chmod 600 it",
                       who, path, (unsigned)(info.st_mode & 07777)));
    for (ssize_t got; n < SECRET_MAX && (got = read(fd, text + n, SECRET_MAX - n)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    if (n == SECRET_MAX || strlen(text) != n)
        AP_TRY(ap_fail(err, AP_INVALID,
                       "%s: the key file %s holds no key, expected one line of less than %d bytes",
                       who, path, (int)SECRET_MAX));
out:
    close(fd);
    return status;
}

static bool is_header(const char *text)
{
    for (const char *c = text; *c; c++)
        if (*c < 0x21 || *c > 0x7e)
            return false;
    return text[0] != '\0';
}

/* What stands where a name should may be the key itself: it is not repeated. */
static bool is_variable(const char *env)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return !isdigit((unsigned char)env[0]) && !env[strspn(env, letters)] &&
           strlen(env) <= NAME_MAX_SHOWN;
}

ap_status ap_secret_open(struct ap_secret *out, const char *env, const char *file, const char *who,
                         struct ap_error *err)
{
    char text[SECRET_MAX + 1] = "";
    const char *given = env[0] ? getenv(env) : NULL;
    ap_status status = AP_OK;
    *out = (struct ap_secret){0};
    if (!env[0] && !file[0])
        return AP_OK;
    refuse_cores();
    if (env[0] && file[0])
        return ap_fail(err, AP_INVALID, "%s: has key_env and key_file, expected one of them", who);
    if (env[0] && !given && !is_variable(env))
        return ap_fail(
            err, AP_INVALID,
            "%s: what key_env holds is no name of a variable (and not shown: it may be a "
            "key); put the key into the environment, and its variable's name there",
            who);
    if (env[0] && !given)
        return ap_fail(err, AP_NOT_FOUND,
                       "%s: the environment variable %s is not set, expected the key; export it or "
                       "name another",
                       who, env);
    if (given && strlen(given) > SECRET_MAX)
        return ap_fail(err, AP_INVALID, "%s: %s is too long for a key", who, env);
    if (given)
        strcpy(text, given);
    else
        AP_TRY(read_file(file, who, text, err));
    char *first = text + strspn(text, " \t\r\n");
    for (size_t n = strlen(first); n > 0 && strchr(" \t\r\n", first[n - 1]); n--)
        first[n - 1] = '\0';
    if (!is_header(first))
        AP_TRY(ap_fail(err, AP_INVALID,
                       "%s: %s holds no key, expected printable ASCII without spaces", who,
                       env[0] ? env : file));
    if (!(out->text = ap_strdup(first)))
        status = ap_fail(err, AP_MEMORY, "%s: no memory for a key", who);
out:
    explicit_bzero(text, sizeof(text));
    return status;
}

void ap_secret_free(struct ap_secret *s)
{
    if (s->text)
        explicit_bzero(s->text, strlen(s->text));
    ap_free(s->text);
    *s = (struct ap_secret){0};
}

bool ap_secret_hide(const struct ap_secret *s, char *text)
{
    bool hid = false;
    size_t n = s && s->text ? strlen(s->text) : 0;
    if (n < SHORT) /* "x", as a server without keys is given, would blot out words */
        return false;
    for (char *at = text; at && (at = strstr(at, s->text)) != NULL; at += n, hid = true)
        memset(at, '*', n);
    return hid;
}
