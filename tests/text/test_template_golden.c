/* Chats of the reference folder, text and ids, by transformers: the templates of three families on
 * their models' own tokenizers. */
#include "tokenizer_cases.h"

#include "base/file.h"

struct opened { /* the tokenizers in use; a file is read once */
    char name[128];
    struct ap_tokenizer *t;
};

static struct ap_tokenizer *open_once(struct opened *opened, size_t n, const char *name)
{
    struct ap_error err = {0};
    for (size_t i = 0; i < n; i++) {
        if (opened[i].t && strcmp(opened[i].name, name) != 0)
            continue;
        if (!opened[i].t) {
            const char *dir = check_data(name);
            if (!dir)
                skip();
            check_ok(ap_tokenizer_open(&opened[i].t, dir, &err), err);
            snprintf(opened[i].name, sizeof(opened[i].name), "%s", name);
        }
        return opened[i].t;
    }
    fail_msg("more tokenizers than expected");
    return NULL;
}

static void check_case(const struct ap_tokenizer *t, const json_t *c, const char *date)
{
    struct ap_error err = {0};
    struct ap_template *tpl = NULL;
    struct ap_template_options options = {.date = date};
    struct ap_message chat[8];
    struct ap_ids ids = {0};
    const json_t *messages = json_object_get(c, "messages");
    const char *file = json_string_value(json_object_get(c, "template_file"));
    char *text = NULL;
    size_t n, i;
    if (file && !(options.file = check_data(file)))
        skip();
    assert_true(json_array_size(messages) <= AP_LEN(chat));
    for (i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        chat[i].role = json_string_value(json_object_get(m, "role"));
        chat[i].content = json_string_value(json_object_get(m, "content"));
    }
    check_ok(ap_template_open(&tpl, t, &options, &err), err);
    check_ok(ap_template_render(tpl, chat, i,
                                json_is_true(json_object_get(c, "add_generation_prompt")), &text,
                                &n, &ids, &err),
             err);
    check_text(text, n, json_object_get(c, "text"),
               json_string_value(json_object_get(c, "template")));
    check_same_ids(&ids, json_object_get(c, "ids"), text);
    ap_text_free(text);
    ap_ids_free(&ids);
    ap_template_close(tpl);
}

static void test_chats(void **state)
{
    (void)state;
    const char *path = check_golden("text/templates.json");
    struct opened opened[3] = {0};
    if (!path)
        skip();
    json_t *root = load_json(path);
    const json_t *cases = json_object_get(root, "cases");
    assert_int_equal(json_array_size(cases), 144);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        check_case(open_once(opened, 3, json_string_value(json_object_get(c, "tokenizer"))), c,
                   json_string_value(json_object_get(root, "date_string")));
    }
    for (size_t i = 0; i < 3; i++)
        ap_tokenizer_close(opened[i].t);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_chats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
