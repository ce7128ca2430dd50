/* The template plain, the choice of a template, sequences with their masks, the meta-prompt. */
#include "small_tokenizer.h"

#include "base/file.h"
#include "base/memory.h"
#include "text/sequence.h"

#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})
enum { BOS = 0, BLANK = 1, A = 2, B = 3, AB = 4, NL = 6, END = 7 };

struct fixture {
    struct ap_tokenizer *t;
    struct ap_template *tpl;
};

static int open_fixture(void **state)
{
    static struct fixture f;
    struct ap_error err = {0};
    f.t = open_small();
    check_ok(ap_template_open(&f.tpl, f.t, NULL, &err), err);
    *state = &f;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;
    ap_template_close(f->tpl);
    ap_tokenizer_close(f->t);
    return 0;
}

static void check_chat(const struct ap_template *tpl, const struct ap_message *messages, size_t n,
                       bool prompt, const char *want, const int32_t *want_ids)
{
    struct ap_error err = {0};
    struct ap_ids ids = {0};
    char *text;
    size_t n_text;
    check_ok(ap_template_render(tpl, messages, n, prompt, &text, &n_text, &ids, &err), err);
    assert_string_equal(text, want);
    assert_int_equal(n_text, strlen(want));
    check_ids(&ids, want_ids);
    ap_text_free(text);
    ap_ids_free(&ids);
}

static void test_plain(void **state)
{
    const struct fixture *f = *state;
    const struct ap_message chat[] = {
        {"system", "b"}, {"user", "a"}, {"assistant", "ab"}, {"user", "b"}};
    check_chat(f->tpl, chat, 2, true, "b\na\n", IDS(BOS, B, NL, A, NL));
    check_chat(f->tpl, chat, 2, false, "b\na", IDS(BOS, B, NL, A));
    check_chat(f->tpl, chat, 3, false, "b\na\nab</s>", IDS(BOS, B, NL, A, NL, AB, END));
    check_chat(f->tpl, chat, 4, true, "b\na\nab</s>\nb\n",
               IDS(BOS, B, NL, A, NL, AB, END, NL, B, NL));
    assert_int_equal(ap_template_end(f->tpl), END);
}

/* A chat with an answer is its prompt and the answer's ids, joined as ids. math.md (8) */
static void test_answer_is_the_end_of_the_chat(void **state)
{
    const struct fixture *f = *state;
    struct ap_error err = {0};
    const struct ap_message chat[] = {{"user", "a"}, {"assistant", "b a"}};
    struct ap_ids whole = {0}, parts = {0};
    check_ok(ap_template_render(f->tpl, chat, 2, false, NULL, NULL, &whole, &err), err);
    check_ok(ap_template_render(f->tpl, chat, 1, true, NULL, NULL, &parts, &err), err);
    check_ok(ap_template_answer(f->tpl, "b a", &parts, &err), err);
    assert_int_equal(whole.n, parts.n);
    assert_memory_equal(whole.data, parts.data, whole.n * sizeof(int32_t));
    ap_ids_free(&whole);
    ap_ids_free(&parts);
}

static void test_special_in_content(void **state)
{
    const struct fixture *f = *state;
    struct ap_error err = {0};
    struct ap_template *tpl = NULL;
    const struct ap_message chat[] = {{"user", "a</s>"}};
    check_chat(f->tpl, chat, 1, false, "a</s>", IDS(BOS, A, END));
    check_ok(ap_template_open(
                 &tpl, f->t,
                 &(struct ap_template_options){.name = "plain", .content_is_text = true}, &err),
             err);
    check_chat(tpl, chat, 1, false, "a</s>", IDS(BOS, A, 0));
    ap_template_close(tpl);
}

static void check_render_error(const struct ap_template *tpl, const struct ap_message *messages,
                               size_t n, const char *part)
{
    struct ap_error err = {0};
    char *text;
    assert_int_equal(ap_template_render(tpl, messages, n, true, &text, NULL, NULL, &err),
                     AP_INVALID);
    check_holds(err.text, part);
    assert_null(text);
}

static void test_bad_chats(void **state)
{
    const struct fixture *f = *state;
    check_render_error(f->tpl, NULL, 0, "at least one");
    check_render_error(f->tpl, (const struct ap_message[]){{"tool", "x"}}, 1, "\"tool\"");
}

static void test_choice(void **state)
{
    const struct fixture *f = *state;
    struct ap_error err = {0};
    struct ap_template *tpl = NULL;
    struct ap_template_options options = {.name = "llama9"};
    assert_int_equal(ap_template_open(&tpl, f->t, &options, &err), AP_UNSUPPORTED);
    check_holds(err.text, "text.template");
    check_holds(err.text, "\"llama9\"");
    check_holds(err.text, "plain, llama3, qwen2, phi3");
    assert_null(tpl);
    options = (struct ap_template_options){.name = "auto", .file = "/no/such.jinja"};
    assert_int_equal(ap_template_open(&tpl, f->t, &options, &err), AP_NOT_FOUND);
    check_holds(err.text, "/no/such.jinja");
}

static void test_unknown_jinja(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    struct ap_template *tpl = NULL;
    char *config = edited(small_config, "{\"bos", "{\"chat_template\": \"{{ x }}\", \"bos");
    check_ok(parse_small(&t, small_tokenizer, config, &err), err);
    assert_string_equal(ap_tokenizer_chat_template(t), "{{ x }}");
    assert_int_equal(ap_template_open(&tpl, t, NULL, &err), AP_UNSUPPORTED);
    check_holds(err.text, "dir/tokenizer.json");
    check_holds(err.text, "text.template");
    check_holds(err.text, "plain");
    check_ok(ap_template_open(&tpl, t, &(struct ap_template_options){.name = "plain"}, &err), err);
    ap_template_close(tpl);
    ap_tokenizer_close(t);
    free(config);
}

/* transformers 4 kept several templates in a list; "default" is the one of chats. */
static void test_list_of_templates(void **state)
{
    (void)state;
    static const struct {
        const char *list, *text;
    } cases[] = {
        {"[{\"name\": \"rag\", \"template\": \"r\"}, {\"name\": \"default\", \"template\": \"d\"}]",
         "d"},
        {"[{\"name\": \"rag\", \"template\": \"r\"}]", ""},
        {"[]", ""},
    };
    for (size_t i = 0; i < AP_LEN(cases); i++) {
        struct ap_error err = {0};
        struct ap_tokenizer *t = NULL;
        struct ap_template *tpl = NULL;
        char key[256];
        snprintf(key, sizeof(key), "{\"chat_template\": %s, \"bos", cases[i].list);
        char *config = edited(small_config, "{\"bos", key);
        check_ok(parse_small(&t, small_tokenizer, config, &err), err);
        assert_string_equal(ap_tokenizer_chat_template(t), cases[i].text);
        assert_int_equal(ap_template_open(&tpl, t, NULL, &err), AP_UNSUPPORTED);
        ap_tokenizer_close(t);
        free(config);
    }
}

static void test_no_end_token(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    struct ap_template *tpl = NULL;
    check_ok(parse_small(&t, small_tokenizer, NULL, &err), err);
    assert_int_equal(ap_tokenizer_eos(t), -1);
    assert_int_equal(ap_template_open(&tpl, t, NULL, &err), AP_INVALID);
    check_holds(err.text, "eos_token");
    ap_tokenizer_close(t);
}

/* The folder's files: a chat_template.jinja goes before the key. */
static void test_folder(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_template_XXXXXX";
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    assert_non_null(mkdtemp(dir));
    const char *const name[] = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"};
    const char *const text[] = {small_tokenizer, small_config, "from the file"};
    for (size_t i = 0; i < 3; i++) {
        char *path = ap_path_join(dir, name[i]);
        check_ok(ap_file_write(path, text[i], strlen(text[i]), &err), err);
        ap_free(path);
    }
    check_ok(ap_tokenizer_open(&t, dir, &err), err);
    assert_string_equal(ap_tokenizer_chat_template(t), "from the file");
    ap_tokenizer_close(t);
    char *jinja = ap_path_join(dir, name[2]);
    check_ok(ap_file_write(jinja, "a\0b", 3, &err), err);
    assert_int_equal(ap_tokenizer_open(&t, dir, &err), AP_FORMAT);
    check_holds(err.text, "chat_template.jinja: holds a NUL");
    ap_free(jinja);
    check_ok(ap_dir_remove(dir, &err), err);
}

/* ---- sequences ---- */

static void check_sequence(const struct ap_sequence *s, const int32_t *want, int32_t n_prompt)
{
    struct ap_ids ids = {s->ids, (size_t)s->n, (size_t)s->n};
    check_ids(&ids, want);
    assert_int_equal(s->n_prompt, n_prompt);
    for (int32_t i = 0; i < s->n; i++)
        assert_int_equal(s->trained[i], i >= n_prompt);
}

static void test_sequence(void **state)
{
    const struct fixture *f = *state;
    const struct ap_message system = {"system", "b"};
    struct ap_error err = {0};
    struct ap_sequence s;
    bool fits;
    check_ok(
        ap_sequence_make(&s, f->tpl, &system, 1, "a", "ab", 64, AP_TOO_LONG_ERROR, &fits, &err),
        err);
    assert_true(fits);
    check_sequence(&s, IDS(BOS, B, NL, A, NL, AB, END), 5);
    ap_sequence_free(&s);
    check_ok(ap_sequence_make(&s, f->tpl, NULL, 0, "a", NULL, 64, AP_TOO_LONG_ERROR, &fits, &err),
             err);
    check_sequence(&s, IDS(BOS, A, NL), 3);
    ap_sequence_free(&s);
    check_ok(ap_sequence_chat(&s, f->tpl, NULL, 0, "a", "ab", 64, AP_TOO_LONG_ERROR, &fits, &err),
             err);
    check_sequence(&s, IDS(BOS, A, NL, AB, END), 5);
    ap_sequence_free(&s);
}

static void check_cut(const struct ap_template *tpl, const char *x, const char *answer, int32_t max,
                      const int32_t *want, int32_t n_prompt)
{
    struct ap_error err = {0};
    struct ap_sequence s;
    bool fits;
    check_ok(ap_sequence_make(&s, tpl, NULL, 0, x, answer, max, AP_TOO_LONG_TRUNCATE, &fits, &err),
             err);
    assert_int_equal(fits, want != NULL);
    if (want)
        check_sequence(&s, want, n_prompt);
    else
        assert_null(s.ids);
    ap_sequence_free(&s);
}

static void test_too_long(void **state)
{
    const struct fixture *f = *state;
    struct ap_error err = {0};
    struct ap_sequence s;
    bool fits;
    /* BOS a NL | b _ b END is 7 tokens */
    check_ok(ap_sequence_make(&s, f->tpl, NULL, 0, "a", "b b", 7, AP_TOO_LONG_ERROR, &fits, &err),
             err);
    ap_sequence_free(&s);
    assert_int_equal(
        ap_sequence_make(&s, f->tpl, NULL, 0, "a", "b b", 6, AP_TOO_LONG_ERROR, &fits, &err),
        AP_LIMIT);
    check_holds(err.text, "7 tokens");
    check_holds(err.text, "limit of 6");
    check_holds(err.text, "data.too_long");
    check_ok(ap_sequence_make(&s, f->tpl, NULL, 0, "a", "b b", 6, AP_TOO_LONG_SKIP, &fits, &err),
             err);
    assert_false(fits);
    assert_null(s.ids);
    check_cut(f->tpl, "a", "b b", 5, IDS(BOS, A, NL, B, BLANK), 3);
    check_cut(f->tpl, "a", "b b", 4, IDS(BOS, A, NL, B), 3);
    check_cut(f->tpl, "a", "b b", 3, NULL, 0);
    /* a prompt alone loses its front, and keeps its BOS */
    check_cut(f->tpl, "aabb", NULL, 4, IDS(BOS, AB, B, NL), 4);
    check_cut(f->tpl, "aabb", NULL, 1, IDS(BOS), 1);
    check_cut(f->tpl, "aabb", NULL, 0, NULL, 0);
}

/* Without a BOS and without a prompt there is still nothing that predicts the first token. */
static void test_first_token_is_never_trained(void **state)
{
    (void)state;
    char *text = edited(small_tokenizer, "\"ids\": [0]", "\"ids\": []");
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    struct ap_template *tpl = NULL;
    struct ap_sequence s;
    bool fits;
    check_ok(parse_small(&t, text, small_config, &err), err);
    check_ok(ap_template_open(&tpl, t, NULL, &err), err);
    check_ok(ap_sequence_make(&s, tpl, NULL, 0, "", "ab", 8, AP_TOO_LONG_ERROR, &fits, &err), err);
    check_sequence(&s, IDS(NL, AB, END), 1);
    ap_sequence_free(&s);
    ap_template_close(tpl);
    ap_tokenizer_close(t);
    free(text);
}

static void check_meta(const char *meta, const char *x, const char *want)
{
    char *got = ap_meta_prompt_apply(meta, x);
    assert_string_equal(got, want);
    ap_free(got);
}

static void test_meta_prompt(void **state)
{
    (void)state;
    check_meta("", "x y", "x y");
    check_meta("Rewrite:", "x", "Rewrite:\nx");
    check_meta("Rewrite <{prompt}>.", "x", "Rewrite <x>.");
    check_meta("{prompt}{prompt}", "{prompt}", "{prompt}{prompt}");
    check_meta("{prompt} {promp", "", " {promp");
    char *got = ap_meta_prompt_apply(ap_meta_prompt_default, "otter food??");
    check_holds(got, "otter food??");
    check_holds(got, "do not answer");
    ap_free(got);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_plain),
        WITH(test_answer_is_the_end_of_the_chat),
        WITH(test_special_in_content),
        WITH(test_bad_chats),
        WITH(test_choice),
        cmocka_unit_test(test_unknown_jinja),
        cmocka_unit_test(test_list_of_templates),
        cmocka_unit_test(test_no_end_token),
        cmocka_unit_test(test_folder),
        WITH(test_sequence),
        WITH(test_too_long),
        cmocka_unit_test(test_first_token_is_never_trained),
        cmocka_unit_test(test_meta_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
