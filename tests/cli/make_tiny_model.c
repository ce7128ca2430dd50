/* make_tiny_model DIR [classifier]: a folder with random weights for the tests of the program, of a
 * vocabulary that fits the demo's tokenizer. */
#include "model/weights.h"

#include <stdio.h>
#include <string.h>

static const struct ap_config config = {
    .n_vocab = 600,
    .width = 32,
    .n_layer = 2,
    .n_head = 4,
    .n_kv_head = 2,
    .head_dim = 8,
    .n_ffn = 48,
    .max_position = 64,
    .rms_eps = 1e-5f,
    .rope = AP_ROPE_DEFAULT,
    .rope_theta = 10000,
    .initializer_range = 0.3,
    .bos = 0,
    .pad = -1,
    .eos = {1},
    .n_eos = 1,
};

static ap_status make(const char *dir, bool classifier, struct ap_error *err)
{
    struct ap_config c = config;
    struct ap_weights *w;
    c.n_label = classifier ? 1 : 0;
    ap_status status = ap_weights_random(&w, &c, 0, AP_F32, 1, err);
    if (status != AP_OK)
        return status;
    status = ap_weights_save(w, dir, err);
    ap_weights_free(w);
    return status;
}

int main(int argc, char **argv)
{
    struct ap_error err = {0};
    if (argc < 2) {
        fputs("usage: make_tiny_model DIR [classifier]\n", stderr);
        return 2;
    }
    if (make(argv[1], argc > 2 && strcmp(argv[2], "classifier") == 0, &err) == AP_OK)
        return 0;
    fprintf(stderr, "make_tiny_model: %s\n", err.text);
    return 1;
}
