/* libFuzzer entry for files of keys: any bytes are refused in one line that holds none of their
 * hashes, or taken, the same way when they are read again. A key that is made then is the one that
 * it was made as; who is in no line is nobody. At most 20000 executions.
 *
 * fuzz: serve/keys */
#include "serve/keys.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool fine)
{
    if (!fine)
        abort();
}

static char path[64];

static void remove_file(void)
{
    unlink(path);
}

static void write_file(const uint8_t *data, size_t size)
{
    if (!path[0]) {
        snprintf(path, sizeof(path), "/tmp/alignpro-fuzz-keys-%d", (int)getpid());
        atexit(remove_file);
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
}

/* No run of the file's hexadecimal digits as long as a hash is in the message. */
static void check_message(const struct ap_error *err, const uint8_t *data, size_t size)
{
    char hash[HEX + 1] = "";
    size_t run = 0;
    must(err->text[0] && !strpbrk(err->text, "\n\r"));
    for (size_t i = 0; i < size; i++) {
        run = data[i] && strchr("0123456789abcdefABCDEF", data[i]) ? run + 1 : 0;
        if (run < HEX)
            continue;
        memcpy(hash, data + i + 1 - HEX, HEX);
        must(!strstr(err->text, hash));
    }
}

static ap_key_answer ask(struct ap_keys *k, const char *key, char name[AP_KEY_NAME_MAX])
{
    double retry_after = 0;
    return ap_keys_check(k, key, true, 1, name, &retry_after);
}

static void check_taken(struct ap_keys *k)
{
    char made[AP_KEY_TEXT_MAX], name[AP_KEY_NAME_MAX] = "";
    struct ap_error err = {0};
    must(ap_keys_reload(k, &err) == AP_OK);
    must(ask(k, "", name) == AP_KEY_UNKNOWN && ask(k, "ap-none", name) == AP_KEY_UNKNOWN);
    if (ap_keys_make(path, "made-here", made, &err) != AP_OK) { /* there is one of that name */
        must(err.status == AP_INVALID);
        return;
    }
    must(ask(k, made, name) == AP_KEY_UNKNOWN);
    must(ap_keys_reload(k, &err) == AP_OK || err.status == AP_LIMIT);
    if (err.status == AP_LIMIT)
        return;
    must(ask(k, made, name) == AP_KEY_KNOWN && strcmp(name, "made-here") == 0);
    made[strlen(made) - 1] ^= 1;
    must(ask(k, made, name) == AP_KEY_UNKNOWN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ap_error err = {0};
    struct ap_keys *k;
    write_file(data, size);
    ap_status status = ap_keys_open(&k, path, &err);
    must((status == AP_OK) == (k != NULL));
    if (k)
        check_taken(k);
    else
        check_message(&err, data, size);
    ap_keys_close(k);
    return 0;
}
