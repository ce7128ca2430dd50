/* Keys of clients (keys.h). */
#include "serve/keys.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEYS_MAX = 4096, FILE_MAX = 1 << 20, KEY_BYTES = 32 };
#define BURST_SECONDS 10.0 /* of its rate that a key may take at once */

struct key {
    char name[AP_KEY_NAME_MAX];
    unsigned char hash[32];
    double rate; /* requests a second; 0: no limit */
    double left; /* requests that it may take now, as of `at` */
    double at;
};

struct table {
    struct key *keys; /* owned */
    size_t n;
};

struct ap_keys {
    char *path; /* owned */
    pthread_mutex_t lock;
    struct table table;
};

static double burst(const struct key *k)
{
    return k->rate * BURST_SECONDS > 1 ? k->rate * BURST_SECONDS : 1;
}

static bool name_is_fine(const char *name)
{
    return name[0] && strlen(name) < AP_KEY_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               strlen(name);
}

static bool read_hash(const char *hex, unsigned char hash[32])
{
    static const char digits[] = "0123456789abcdef";
    if (strlen(hex) != 64)
        return false;
    for (int i = 0; i < 64; i++) {
        const char *digit = strchr(digits, hex[i] >= 'A' && hex[i] <= 'F' ? hex[i] | 0x20 : hex[i]);
        if (!digit)
            return false;
        hash[i / 2] = (unsigned char)(hash[i / 2] << 4 | (digit - digits));
    }
    return true;
}

static struct key *find_name(const struct table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->keys[i].name, name) == 0)
            return &t->keys[i];
    return NULL;
}

/* line is cut into its words. */
static ap_status read_line(struct table *t, char *line, const char *path, int number,
                           struct ap_error *err)
{
    char *rest = NULL, *end;
    line[strcspn(line, "#\r")] = '\0';
    const char *name = strtok_r(line, " \t", &rest), *hash = strtok_r(NULL, " \t", &rest);
    const char *rate = strtok_r(NULL, " \t", &rest);
    if (!name)
        return AP_OK;
    if (t->n == KEYS_MAX)
        return ap_fail(err, AP_LIMIT, "%s has more than %d keys", path, (int)KEYS_MAX);
    struct key *k = &t->keys[t->n];
    *k = (struct key){0};
    double minute = rate ? strtod(rate, &end) : 0;
    if (!name_is_fine(name) || !hash || !read_hash(hash, k->hash) || strtok_r(NULL, " \t", &rest) ||
        (rate && (end == rate || *end || !(minute > 0 && minute <= 1e9))))
        return ap_fail(err, AP_FORMAT,
                       "%s:%d: is no key, expected a name, 64 hex digits and, perhaps, requests a "
                       "minute; correct the line",
                       path, number);
    if (find_name(t, name))
        return ap_fail(err, AP_FORMAT, "%s:%d: %s has a key already; give each its own name", path,
                       number, name);
    strcpy(k->name, name);
    k->rate = minute / 60;
    k->left = burst(k);
    t->n++;
    return AP_OK;
}

static ap_status read_table(struct table *t, const char *path, struct ap_error *err)
{
    struct ap_buffer text = {0};
    struct stat info;
    ap_status status;
    char *rest = NULL;
    int number = 0;
    *t = (struct table){0};
    AP_TRY(ap_file_read(path, FILE_MAX, &text, err));
    if (stat(path, &info) == 0 && (info.st_mode & 022))
        AP_TRY(ap_fail(err, AP_INVALID,
                       "%s has mode %04o: others may write keys into it; chmod 600 it", path,
                       (unsigned)(info.st_mode & 07777)));
    if (text.len > 0 && memchr(text.data, '\0', text.len)) /* what is behind it would not be read */
        AP_TRY(
            ap_fail(err, AP_FORMAT, "%s holds a NUL, expected lines of text; write it anew", path));
    if (!(t->keys = ap_calloc(KEYS_MAX, sizeof(*t->keys))))
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no memory for its keys", path));
    for (char *line = text.data; line && status == AP_OK; line = rest) {
        rest = strchr(line, '\n');
        if (rest)
            *rest++ = '\0';
        status = read_line(t, line, path, ++number, err);
    }
out:
    ap_buffer_free(&text);
    if (status != AP_OK) {
        ap_free(t->keys);
        *t = (struct table){0};
    }
    return status;
}

ap_status ap_keys_open(struct ap_keys **out, const char *path, struct ap_error *err)
{
    struct ap_keys *k = ap_calloc(1, sizeof(*k));
    *out = NULL;
    if (!k || !(k->path = ap_strdup(path))) {
        ap_free(k);
        return ap_fail(err, AP_MEMORY, "%s: no memory for its keys", path);
    }
    pthread_mutex_init(&k->lock, NULL);
    ap_status status = read_table(&k->table, path, err);
    if (status == AP_OK)
        *out = k;
    else
        ap_keys_close(k);
    return status;
}

ap_status ap_keys_reload(struct ap_keys *k, struct ap_error *err)
{
    struct table fresh;
    ap_status status = read_table(&fresh, k->path, err);
    if (status != AP_OK)
        return status;
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < fresh.n; i++) { /* a reload gives nobody a new burst */
        const struct key *old = find_name(&k->table, fresh.keys[i].name);
        if (old && old->rate == fresh.keys[i].rate) {
            fresh.keys[i].left = old->left;
            fresh.keys[i].at = old->at;
        }
    }
    struct table old = k->table;
    k->table = fresh;
    pthread_mutex_unlock(&k->lock);
    ap_free(old.keys);
    return AP_OK;
}

void ap_keys_close(struct ap_keys *k)
{
    if (!k)
        return;
    pthread_mutex_destroy(&k->lock);
    ap_free(k->table.keys);
    ap_free(k->path);
    ap_free(k);
}

static void hash_key(const char *key, unsigned char hash[32])
{
    struct ap_sha256 sha;
    ap_sha256_init(&sha);
    ap_sha256_add(&sha, key, strlen(key));
    ap_sha256_end(&sha, hash);
}

/* All lines, all bytes, whatever is found. */
static struct key *find_hash(const struct table *t, const unsigned char hash[32])
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < t->n; i++) {
        unsigned difference = 0;
        for (int j = 0; j < 32; j++)
            difference |= (unsigned)(t->keys[i].hash[j] ^ hash[j]);
        size_t same = (size_t)0 - (size_t)((difference - 1) >> 31);
        found = (found & ~same) | (i & same);
    }
    return found == SIZE_MAX ? NULL : &t->keys[found];
}

static bool take_one(struct key *k, double now, double *retry_after)
{
    if (k->rate == 0)
        return true;
    double filled = k->left + (k->at > 0 ? now - k->at : 0) * k->rate;
    k->left = filled < burst(k) ? filled : burst(k);
    k->at = now;
    if (k->left < 1) {
        *retry_after = (1 - k->left) / k->rate;
        return false;
    }
    k->left -= 1;
    return true;
}

ap_key_answer ap_keys_check(struct ap_keys *k, const char *key, bool counted, double now,
                            char name[AP_KEY_NAME_MAX], double *retry_after)
{
    unsigned char hash[32];
    ap_key_answer answer = AP_KEY_UNKNOWN;
    hash_key(key, hash);
    pthread_mutex_lock(&k->lock);
    struct key *found = find_hash(&k->table, hash);
    if (found) {
        strcpy(name, found->name);
        answer = !counted || take_one(found, now, retry_after) ? AP_KEY_KNOWN : AP_KEY_LIMITED;
    }
    pthread_mutex_unlock(&k->lock);
    return answer;
}

/* ---- a new one ---- */

static ap_status append_line(const char *path, const char *name, const char *hex, bool newline,
                             struct ap_error *err)
{
    struct ap_buffer line = {0};
    uint64_t written = 0;
    int fd = -1, code;
    ap_status status = ap_buffer_printf(&line, err, "%s%s %s\n", newline ? "\n" : "", name, hex);
    if (status != AP_OK)
        return status;
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        AP_TRY(ap_fail_errno(err, errno, "%s: cannot write", path));
    if ((code = ap_fd_write(fd, line.data, line.len, &written)) != 0 ||
        (fsync(fd) != 0 && (code = errno) != 0))
        AP_TRY(ap_fail_errno(err, code, "%s: cannot write", path));
out:
    if (fd >= 0)
        close(fd);
    ap_buffer_free(&line);
    return status;
}

/* Whether the file's last line has no end. */
static bool lacks_newline(const char *path)
{
    struct ap_buffer text = {0};
    bool lacks = ap_file_read(path, FILE_MAX, &text, NULL) == AP_OK && text.len > 0 &&
                 text.data[text.len - 1] != '\n';
    ap_buffer_free(&text);
    return lacks;
}

static ap_status check_name(const char *path, const char *name, struct ap_error *err)
{
    struct table table = {0};
    ap_status status = AP_OK;
    if (!name_is_fine(name))
        return ap_fail(err, AP_INVALID,
                       "'%s' is no name of a key, expected letters, digits, '.', '_' and '-', at "
                       "most %d",
                       name, AP_KEY_NAME_MAX - 1);
    if (ap_file_exists(path))
        status = read_table(&table, path, err);
    if (status == AP_OK && find_name(&table, name))
        status = ap_fail(err, AP_INVALID,
                         "%s: %s has a key already; give another name, or remove its line first",
                         path, name);
    ap_free(table.keys);
    return status;
}

ap_status ap_keys_make(const char *path, const char *name, char key[AP_KEY_TEXT_MAX],
                       struct ap_error *err)
{
    unsigned char random[KEY_BYTES], hash[32];
    char hex[AP_SHA256_HEX];
    ap_status status = check_name(path, name, err);
    if (status != AP_OK)
        return status;
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return ap_fail_errno(err, errno, "a new key: no random bytes");
    ap_sha256_hex(random, hex); /* 32 bytes as text: the same form */
    strcpy(key, "ap-");
    strcat(key, hex);
    hash_key(key, hash);
    ap_sha256_hex(hash, hex);
    explicit_bzero(random, sizeof(random));
    return append_line(path, name, hex, lacks_newline(path), err);
}
