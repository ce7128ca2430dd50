/* ap_export asked to stop: nothing is left behind, and the same call does it all afterwards.
 * The formats themselves are in tests/cli/test_export_command.sh. */
#include "alignpro/export.h"

#include "base/scratch.h"
#include "model/weights.h"

#include <dirent.h>

static int n_entries(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2; /* . and .. */
}

static char *make_model(void **state)
{
    static const struct ap_config config = {.n_vocab = 600,
                                            .width = 16,
                                            .n_layer = 1,
                                            .n_head = 2,
                                            .n_kv_head = 1,
                                            .head_dim = 8,
                                            .n_ffn = 24,
                                            .max_position = 32,
                                            .rms_eps = 1e-5f,
                                            .rope_theta = 10000,
                                            .initializer_range = 0.1,
                                            .bos = 0,
                                            .pad = -1};
    struct ap_error err;
    struct ap_weights *w;
    char *dir = scratch_path(state, "model"), *to = ap_path_join(dir, "tokenizer.json");
    check_ok(ap_weights_random(&w, &config, 0, AP_F32, 1, &err), err);
    check_ok(ap_weights_save(w, dir, &err), err);
    check_ok(ap_file_copy(AP_SOURCE_DIR "/examples/demo/tokenizer.json", to, &err), err);
    ap_weights_free(w);
    ap_free(to);
    return dir;
}

/* Ctrl-C sets the flag of the sink: hf stops in its folder, gguf in its file. */
static void test_interrupted(void **state)
{
    static const char *const formats[] = {"hf", "gguf"};
    volatile sig_atomic_t stop = 1;
    struct ap_sink sink = {.stop = &stop};
    struct ap_error err;
    char *model = make_model(state), *out = scratch_path(state, "out");
    for (size_t i = 0; i < AP_LEN(formats); i++) {
        struct ap_export_options o = {.format = formats[i], .model = model, .out = out};
        stop = 1;
        assert_int_equal(ap_export(&o, &sink, &err), AP_INTERRUPTED);
        check_holds(err.text, "interrupted");
        assert_int_equal(n_entries(*state), 1);
        stop = 0;
        check_ok(ap_export(&o, &sink, &err), err);
        assert_int_equal(n_entries(*state), 2);
        assert_int_equal(ap_export(&o, &sink, &err), AP_INVALID); /* it is there already */
        check_ok(ap_dir_remove(out, &err), err);
    }
    ap_free(model);
    ap_free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_interrupted, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
