/* Any JSON as config.json: refused in one line, or sizes that hold their promises.
 *
 * fuzz: model */
#include "base/file.h"
#include "model/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_config(const struct ap_config *c)
{
    if (c->n_vocab < 1 || c->width < 1 || c->n_layer < 1 || c->n_ffn < 1 || c->head_dim < 2 ||
        c->head_dim % 2 || c->n_kv_head < 1 || c->n_head % c->n_kv_head || c->max_position < 1 ||
        !(c->rms_eps > 0) || !(c->rope_theta > 0) || c->n_eos < 0 || c->n_eos > AP_EOS_MAX)
        abort();
    if (c->family < 0 || c->family >= AP_FAMILY_N || c->window < 0 || ap_config_n_freq(c) < 1 ||
        2 * ap_config_n_freq(c) > c->head_dim || ap_config_context(c) < 1 ||
        ap_config_context(c) > c->max_position)
        abort();
    for (int l = 0; l < c->n_layer; l++)
        if (ap_config_window(c, l) && ap_config_window(c, l) != c->window)
            abort();
    for (int i = 0; c->rope == AP_ROPE_LONGROPE && i < ap_config_n_freq(c); i++)
        if (i >= AP_FREQ_MAX || !(c->rope_short[i] > 0) || !(c->rope_long[i] > 0))
            abort();
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos[i] < 0 || c->eos[i] >= c->n_vocab)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ap_config c;
    struct ap_error err;
    char path[64];
    int fd = memfd_create("config", 0);
    if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size))
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (ap_config_read_file(&c, path, &err) == AP_OK)
        check_config(&c);
    else if (!err.text[0] || strchr(err.text, '\n'))
        abort();
    close(fd);
    return 0;
}
