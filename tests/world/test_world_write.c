/* The world's files: their schemas, sizes, splits, determinism, and what happens to files that
 * exist. */
#include "check.h"

#include "alignpro/demo.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "world/guide.h"

#include <sys/stat.h>

static const struct ap_world_sizes small = {.n_corpus = 3000,
                                            .n_rewrites = 800,
                                            .n_preferences = 800,
                                            .n_prompts = 1500,
                                            .n_valid = 100,
                                            .n_test = 220};

static const char *const names[] = {"corpus.jsonl",  "rewrites.jsonl", "preferences.jsonl",
                                    "prompts.jsonl", "valid.jsonl",    "test.jsonl"};

static int make_dir(void **state)
{
    static char dir[64];
    strcpy(dir, "/tmp/ap_world_XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    *state = dir;
    return 0;
}

static int drop_dir(void **state)
{
    return ap_dir_remove(*state, NULL) != AP_OK;
}

static void read_all(const char *dir, const char *name, struct ap_buffer *out)
{
    struct ap_error err = {0};
    char *path = ap_path_join(dir, name);
    ap_buffer_clear(out);
    check_ok(ap_file_read(path, 1u << 26, out, &err), err);
    ap_free(path);
}

static char *below(const char *dir, const char *name)
{
    return ap_path_join(dir, name);
}

static void files_are_a_function_of_the_seed(void **state)
{
    struct ap_error err = {0};
    char *a = below(*state, "a"), *b = below(*state, "deep/b"), *c = below(*state, "c");
    struct ap_buffer of_a = {0}, of_b = {0}, of_c = {0};
    struct ap_world_sizes more = small;
    more.n_corpus += 500;
    check_ok(ap_world_write(a, AP_WORLD_ULTRAFEEDBACK, 5, &small, &err), err);
    check_ok(ap_world_write(b, AP_WORLD_ULTRAFEEDBACK, 5, &more, &err), err);
    check_ok(ap_world_write(c, AP_WORLD_ULTRAFEEDBACK, 6, &small, &err), err);
    for (size_t i = 0; i < AP_LEN(names); i++) {
        read_all(a, names[i], &of_a);
        read_all(b, names[i], &of_b);
        read_all(c, names[i], &of_c);
        assert_true(of_b.len >= of_a.len && of_a.len > 0); /* more lines begin with the same ones */
        assert_memory_equal(of_a.data, of_b.data, of_a.len);
        assert_false(of_a.len == of_c.len && !memcmp(of_a.data, of_c.data, of_a.len));
    }
    ap_buffer_free(&of_a);
    ap_buffer_free(&of_b);
    ap_buffer_free(&of_c);
    ap_free(a);
    ap_free(b);
    ap_free(c);
}

/* The intent behind a line's meta, as its number. */
static int intent_of(const json_t *meta)
{
    struct ap_world_intent intent = {.n = 0};
    const char *animal = json_string_value(json_object_get(meta, "animal"));
    const json_t *aspects = json_object_get(meta, "aspects");
    assert_non_null(animal);
    intent.animal = ap_world_animal_find(animal, strlen(animal));
    for (size_t i = 0; i < json_array_size(aspects); i++)
        intent.aspects[intent.n++] =
            ap_world_aspect_find(json_string_value(json_array_get(aspects, i)));
    return ap_world_intent_index(&intent);
}

/* Lines of a file with every key checked; *seen counts the intents of its metas. */
static int64_t check_file(const char *dir, const char *name, const char *const *keys, size_t n_keys,
                          int *seen)
{
    struct ap_error err = {0};
    struct ap_lines *lines;
    char *path = ap_path_join(dir, name);
    int64_t n_lines = 0;
    bool more = true;
    check_ok(ap_lines_open(&lines, path, 4096, &err), err);
    for (;;) {
        const char *text;
        size_t n;
        uint64_t number;
        check_ok(ap_lines_next(lines, &text, &n, &number, &more, &err), err);
        if (!more)
            break;
        json_t *line;
        check_ok(ap_json_parse(text, n, name, &line, &err), err);
        assert_int_equal(json_object_size(line), n_keys);
        for (size_t k = 0; k < n_keys; k++)
            assert_non_null(json_object_get(line, keys[k]));
        if (seen)
            seen[intent_of(json_object_get(line, "meta"))]++;
        json_decref(line);
        n_lines++;
    }
    ap_lines_close(lines);
    ap_free(path);
    return n_lines;
}

static void files_have_their_schema_and_intents(void **state)
{
    static const char *const corpus[] = {"prompt", "response"};
    static const char *const rewrites[] = {"prompt", "rewrite"};
    static const char *const preferences[] = {"prompt", "chosen", "rejected"};
    static const char *const prompts[] = {"prompt", "meta"};
    struct ap_error err = {0};
    struct ap_world_splits splits;
    int train[AP_WORLD_INTENTS] = {0}, valid[AP_WORLD_INTENTS] = {0}, test[AP_WORLD_INTENTS] = {0};
    check_ok(ap_world_write(*state, AP_WORLD_ULTRAFEEDBACK, 1, &small, &err), err);
    assert_int_equal(check_file(*state, names[0], corpus, 2, NULL), small.n_corpus);
    assert_int_equal(check_file(*state, names[1], rewrites, 2, NULL), small.n_rewrites);
    assert_int_equal(check_file(*state, names[2], preferences, 3, NULL), small.n_preferences);
    assert_int_equal(check_file(*state, names[3], prompts, 2, train), small.n_prompts);
    assert_int_equal(check_file(*state, names[4], prompts, 2, valid), small.n_valid);
    assert_int_equal(check_file(*state, names[5], prompts, 2, test), small.n_test);
    ap_world_splits_init(&splits);
    for (int i = 0; i < AP_WORLD_INTENTS; i++) {
        assert_true(train[i] == 0 || splits.of[i] == AP_WORLD_TRAIN);
        assert_int_equal(valid[i], splits.of[i] == AP_WORLD_VALID ? 4 : 0);
        assert_int_equal(test[i], splits.of[i] == AP_WORLD_TEST ? 4 : 0);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The prompts of prompts, valid and test: no text twice, within a file or across them. */
static void prompts_are_distinct(void **state)
{
    struct ap_error err = {0};
    struct ap_buffer text[3] = {{0}};
    char *prompts[4000];
    size_t n = 0;
    check_ok(ap_world_write(*state, AP_WORLD_ULTRAFEEDBACK, 2, &small, &err), err);
    for (int f = 0; f < 3; f++) {
        char *rest = NULL;
        read_all(*state, names[3 + f], &text[f]);
        for (char *line = strtok_r(text[f].data, "\n", &rest); line;
             line = strtok_r(NULL, "\n", &rest)) {
            *strstr(line, "\",\"meta\"") = '\0';
            prompts[n++] = line;
        }
    }
    assert_int_equal(n, 1500 + 100 + 220);
    qsort(prompts, n, sizeof(prompts[0]), by_text);
    for (size_t i = 1; i < n; i++)
        assert_string_not_equal(prompts[i - 1], prompts[i]);
    for (int f = 0; f < 3; f++)
        ap_buffer_free(&text[f]);
}

static void written_files_are_left_and_others_replaced(void **state)
{
    struct ap_error err = {0};
    struct ap_buffer before = {0}, after = {0};
    char *path = below(*state, "corpus.jsonl");
    check_ok(ap_world_write(*state, AP_WORLD_ULTRAFEEDBACK, 1, &small, &err), err);
    read_all(*state, "corpus.jsonl", &before);
    check_ok(ap_file_write(path, "mine\n", 5, &err), err);
    check_ok(ap_world_write(*state, AP_WORLD_ULTRAFEEDBACK, 1, &small, &err),
             err); /* vouched for: untouched */
    read_all(*state, "corpus.jsonl", &after);
    assert_string_equal(after.data, "mine\n");
    check_ok(ap_world_write(*state, AP_WORLD_ULTRAFEEDBACK, 2, &small, &err),
             err); /* another seed: replaced */
    check_ok(ap_world_write(*state, AP_WORLD_ULTRAFEEDBACK, 1, &small, &err), err);
    read_all(*state, "corpus.jsonl", &after);
    assert_string_equal(after.data, before.data);
    assert_int_equal(unlink(path), 0); /* a file is gone: written again */
    check_ok(ap_world_write(*state, AP_WORLD_ULTRAFEEDBACK, 1, &small, &err), err);
    read_all(*state, "corpus.jsonl", &after);
    assert_string_equal(after.data, before.data);
    ap_buffer_free(&before);
    ap_buffer_free(&after);
    ap_free(path);
}

static void bad_sizes_and_folders_are_refused(void **state)
{
    struct ap_error err = {0};
    struct ap_world_sizes sizes = small;
    sizes.n_rewrites = -1;
    assert_int_equal(ap_world_write(*state, AP_WORLD_ULTRAFEEDBACK, 1, &sizes, &err), AP_INVALID);
    check_holds(err.text, "rewrites.jsonl: -1 lines");
    sizes = small;
    sizes.n_test = 1000001;
    assert_int_equal(ap_world_write(*state, AP_WORLD_ULTRAFEEDBACK, 1, &sizes, &err), AP_INVALID);
    check_holds(err.text, "expected 0 to 1000000");
    char *file = below(*state, "file"), *dir = below(*state, "file/data");
    check_ok(ap_file_write(file, "x", 1, &err), err);
    assert_int_not_equal(ap_world_write(dir, AP_WORLD_ULTRAFEEDBACK, 1, &small, &err), AP_OK);
    check_holds(err.text, file);
    ap_free(file);
    ap_free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_are_a_function_of_the_seed, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(files_have_their_schema_and_intents, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(prompts_are_distinct, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(written_files_are_left_and_others_replaced, make_dir,
                                        drop_dir),
        cmocka_unit_test_setup_teardown(bad_sizes_and_folders_are_refused, make_dir, drop_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
