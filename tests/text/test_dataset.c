/* Data sets: every schema, detection, HelpSteer's pairs, documents, splits. */
#include "dataset_files.h"

#include "base/random.h"

#define AUTO ((struct ap_dataset_options){.format = "auto"})

static void test_pairs(void **state)
{
    struct ap_dataset d = read_good(
        *state,
        "{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"r\", \"meta\": {\"k\": [1, "
        "\"x\"]}}\n"
        "\n"
        "{\"system\": \"s\", \"prompt\": \"p\", \"chosen\": \"\", \"rejected\": \"r\", \"other\": "
        "1,"
        " \"messages\": [{\"role\": \"user\", \"content\": \"u\"}, {\"role\": \"assistant\","
        " \"content\": \"a\"}]}\r\n"
        "{\"prompt\": \"p\", \"chosen\": \"same\", \"rejected\": \"same\"}",
        AUTO);
    assert_int_equal(d.n, 2);
    assert_int_equal(d.n_lines, 3);
    assert_int_equal(d.n_dropped[AP_DROP_SAME], 1);
    assert_int_equal(d.n_bad, 0);
    const struct ap_example *e = d.examples;
    assert_string_equal(e[0].prompt, "p");
    assert_string_equal(e[0].chosen, "c");
    assert_string_equal(e[0].rejected, "r");
    assert_string_equal(e[0].meta, "{\"k\":[1,\"x\"]}");
    assert_null(e[0].answer);
    assert_null(e[0].context);
    assert_int_equal(e[1].record, 1);
    assert_int_equal(e[1].n_context, 3);
    assert_string_equal(e[1].context[0].role, "system");
    assert_string_equal(e[1].context[0].content, "s");
    assert_string_equal(e[1].context[2].role, "assistant");
    assert_string_equal(e[1].context[2].content, "a");
    assert_null(e[1].meta);
    /* the hash is of the prompt alone, or of context and prompt */
    assert_true(e[0].hash == ap_hash("p", 1));
    assert_true(e[1].hash != e[0].hash);
    ap_dataset_free(&d);
}

static void test_rewrites_and_prompts(void **state)
{
    struct ap_dataset d = read_good(*state,
                                    "{\"prompt\": \"p\", \"rewrite\": \"w\"}\n"
                                    "{\"prompt\": \"q\", \"response\": \"v\", \"system\": null}\n",
                                    AUTO);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.examples[0].answer, "w");
    assert_string_equal(d.examples[1].answer, "v");
    assert_null(d.examples[1].chosen);
    ap_dataset_free(&d);
    d = read_good(*state, "\xEF\xBB\xBF{\"prompt\": \"\xC3\xA9\", \"id\": 7}\n", AUTO);
    assert_int_equal(d.n, 1);
    assert_string_equal(d.examples[0].prompt, "\xC3\xA9");
    assert_null(d.examples[0].answer);
    ap_dataset_free(&d);
}

static void test_messages(void **state)
{
    struct scratch *s = *state;
    struct ap_dataset d =
        read_good(s,
                  "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\","
                  " \"content\": \"u\"}, {\"role\": \"assistant\", \"content\": \"a\"}]}\n"
                  "{\"messages\": [{\"role\": \"user\", \"content\": \"u\"}]}\n"
                  "{\"messages\": [{\"role\": \"user\", \"content\": \"u\"}, {\"role\": \"system\","
                  " \"content\": \"s\"}]}\n"
                  "{\"messages\": []}\n"
                  "{\"messages\": [{\"role\": \"tool\", \"content\": \"u\"}]}\n",
                  (struct ap_dataset_options){.format = "auto", .bad_lines = 0.6});
    assert_int_equal(d.n, 2);
    assert_int_equal(d.n_bad, 3);
    assert_int_equal(s->n_bad, 3);
    check_holds(s->last_bad, "d.jsonl:5");
    check_holds(s->last_bad, "\"tool\"");
    assert_string_equal(d.examples[0].prompt, "u");
    assert_string_equal(d.examples[0].answer, "a");
    assert_int_equal(d.examples[0].n_context, 1);
    assert_string_equal(d.examples[0].context[0].content, "s");
    assert_null(d.examples[1].answer);
    assert_int_equal(d.examples[1].n_context, 0);
    ap_dataset_free(&d);
}

#define STEER(prompt, response, help, coherence)                                                   \
    "{\"prompt\": \"" prompt "\", \"response\": \"" response "\", \"helpfulness\": " help          \
    ", \"correctness\": 1, \"coherence\": " coherence ", \"complexity\": 1, \"verbosity\": 1}\n"

static void test_helpsteer(void **state)
{
    static const char text[] = STEER("p", "p3", "3", "1") STEER("q", "q0", "0", "0")
        STEER("p", "p1", "1", "4") STEER("p", "p3b", "3", "2") STEER("r", "alone", "2", "2");
    struct ap_dataset d = read_good(*state, text, AUTO);
    /* p: 3-1, 3-3 (a tie), 1-3; q and r have one answer each */
    assert_int_equal(d.n, 2);
    assert_int_equal(d.n_dropped[AP_DROP_TIE], 1);
    assert_int_equal(d.n_lines, 5);
    assert_string_equal(d.examples[0].chosen, "p3");
    assert_string_equal(d.examples[0].rejected, "p1");
    check_near(d.examples[0].margin, 2, 0, 0);
    assert_string_equal(d.examples[1].chosen, "p3b");
    assert_string_equal(d.examples[1].rejected, "p1");
    assert_true(d.examples[0].hash == d.examples[1].hash);
    ap_dataset_free(&d);
    d = read_good(*state, text, (struct ap_dataset_options){.score = "coherence"});
    assert_int_equal(d.n, 3);
    assert_string_equal(d.examples[0].chosen, "p1");
    check_near(d.examples[0].margin, 3, 0, 0);
    ap_dataset_free(&d);
}

static void test_limit(void **state)
{
    struct ap_dataset d =
        read_good(*state, "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n{\"prompt\": \"c\"}\n",
                  (struct ap_dataset_options){.limit = 2});
    assert_int_equal(d.n, 2);
    assert_int_equal(d.n_dropped[AP_DROP_LIMIT], 1);
    assert_string_equal(d.examples[1].prompt, "b");
    ap_dataset_free(&d);
}

static const char documents[] = "One day, Tim \"ran!\" said Ann. He was glad. He ate cake.\n\n"
                                "They went home.\n"
                                "<|endoftext|>\n"
                                "A fox sat... She saw Dr. Owl! The sun was red.\n"
                                "<|endoftext|>\n"
                                "\n"
                                "<|endoftext|>\n"
                                "Bob fell. \xE2\x80\x9COh no!\xE2\x80\x9D He cried for cake.\n";

static void test_documents(void **state)
{
    struct ap_dataset d =
        read_good(*state, documents, (struct ap_dataset_options){.format = "text", .opening = 1});
    assert_int_equal(d.n, 3);
    assert_int_equal(d.n_lines, 3);
    assert_string_equal(d.examples[0].prompt, "One day, Tim \"ran!\" said Ann.");
    assert_string_equal(d.examples[0].answer, "He was glad. He ate cake.\n\nThey went home.");
    assert_null(d.examples[0].chosen);
    assert_string_equal(d.examples[1].prompt, "A fox sat...");
    ap_dataset_free(&d);
    d = read_good(*state, documents, (struct ap_dataset_options){.format = "text", .opening = 2});
    assert_string_equal(d.examples[2].prompt, "Bob fell. \xE2\x80\x9COh no!\xE2\x80\x9D");
    assert_string_equal(d.examples[2].answer, "He cried for cake.");
    ap_dataset_free(&d);
}

static void test_documents_preferred(void **state)
{
    struct ap_dataset_options options = {.format = "text", .opening = 1, .prefer = "cake"};
    struct ap_dataset d = read_good(*state, documents, options);
    assert_int_equal(d.n, 3);
    assert_int_equal(d.n_dropped[AP_DROP_TIE], 0);
    /* documents 1 and 3 speak of cake: each is preferred to 2, and 2 is the rejected one of its own
     */
    assert_string_equal(d.examples[0].chosen, d.examples[0].answer);
    assert_string_equal(d.examples[0].rejected, d.examples[1].answer);
    assert_string_equal(d.examples[1].chosen, d.examples[2].answer);
    assert_string_equal(d.examples[1].rejected, d.examples[1].answer);
    assert_string_equal(d.examples[2].rejected, d.examples[1].answer);
    ap_dataset_free(&d);
    options.prefer = "nothing has this";
    d = read_good(*state, documents, options);
    assert_int_equal(d.n, 3);
    assert_int_equal(d.n_dropped[AP_DROP_TIE], 3);
    assert_null(d.examples[0].chosen);
    ap_dataset_free(&d);
}

/* Shares as asked for; a prompt in one split whatever its record; selection is by hash alone. */
static void test_splits(void **state)
{
    enum { N = 4000 };
    struct ap_error err = {0};
    struct ap_buffer text = {0};
    size_t n[3], n_all, n_unique;
    int32_t *index[3], *all, *unique;
    for (int i = 0; i < N; i++)
        check_ok(ap_buffer_printf(&text, &err, "{\"prompt\": \"p%d\"}\n", i / 2), err);
    struct ap_dataset d = read_good(*state, text.data, AUTO);
    for (ap_split split = AP_SPLIT_TRAIN; split <= AP_SPLIT_TEST; split++)
        check_ok(ap_dataset_select(&d, split, 0.8, 0.1, false, &index[split], &n[split], &err),
                 err);
    assert_int_equal(n[0] + n[1] + n[2], N);
    check_near((double)n[0] / N, 0.8, 0.03, 0);
    check_near((double)n[1] / N, 0.1, 0.03, 0);
    for (ap_split split = AP_SPLIT_TRAIN; split <= AP_SPLIT_TEST; split++) {
        assert_int_equal(n[split] % 2, 0); /* both records of a prompt, side by side */
        for (size_t i = 0; i < n[split]; i += 2)
            assert_int_equal(index[split][i] + 1, index[split][i + 1]);
        ap_free(index[split]);
    }
    check_ok(ap_dataset_select(&d, AP_SPLIT_ALL, 0.8, 0.1, false, &all, &n_all, &err), err);
    check_ok(ap_dataset_select(&d, AP_SPLIT_ALL, 0.8, 0.1, true, &unique, &n_unique, &err), err);
    assert_int_equal(n_all, N);
    assert_int_equal(n_unique, N / 2);
    assert_int_equal(unique[5], 10);
    ap_free(all);
    ap_free(unique);
    ap_buffer_free(&text);
    ap_dataset_free(&d);
}

static void test_split_borders(void **state)
{
    (void)state;
    assert_int_equal(ap_split_of(0, 0.5, 0.25), AP_SPLIT_TRAIN);
    assert_int_equal(ap_split_of(UINT64_C(1) << 63, 0.5, 0.25), AP_SPLIT_VALID);
    assert_int_equal(ap_split_of(UINT64_C(3) << 62, 0.5, 0.25), AP_SPLIT_TEST);
    assert_int_equal(ap_split_of(UINT64_MAX, 1, 0), AP_SPLIT_TRAIN);
    assert_int_equal(ap_split_of(0, 0, 0), AP_SPLIT_TEST);
}

/* Both halves of every split, and whole numbers of prompts: a prompt is in one half. */
static void test_halves_are_even_in_every_split(void **state)
{
    (void)state;
    enum { N = 20000 };
    int n[3][2] = {{0}};
    for (int i = 0; i < N; i++) {
        char prompt[32];
        int len = snprintf(prompt, sizeof(prompt), "about the otter %d", i);
        uint64_t hash = ap_hash(prompt, (size_t)len);
        assert_int_equal(ap_half_of(hash), ap_half_of(ap_hash(prompt, (size_t)len)));
        n[ap_split_of(hash, 0.6, 0.2)][ap_half_of(hash)]++;
    }
    for (int split = 0; split < 3; split++) {
        double both = n[split][0] + n[split][1];
        assert_in_range(both, N / 6, N);
        check_near(n[split][0] / both, 0.5, 4 * 0.5 / sqrt(both), 0); /* four deviations */
    }
}

/* The real files. */
static void check_file(const char *name, struct ap_dataset_options options, size_t n, size_t ties)
{
    struct ap_error err = {0};
    struct ap_dataset d;
    const char *path = check_data(name);
    if (!path)
        skip();
    check_ok(ap_dataset_read(&d, path, &options, &err), err);
    printf("%s: %zu examples of %llu records, %llu ties, %llu bad\n", name, d.n,
           (unsigned long long)d.n_lines, (unsigned long long)d.n_dropped[AP_DROP_TIE],
           (unsigned long long)d.n_bad);
    assert_int_equal(d.n, n);
    assert_int_equal(d.n_dropped[AP_DROP_TIE], ties);
    assert_int_equal(d.n_bad, 0);
    ap_dataset_free(&d);
}

static void test_real_files(void **state)
{
    (void)state;
    check_file("datasets/helpsteer_500.jsonl", AUTO, 387, 306);
    check_file("datasets/tinystories_sample_2MiB.txt",
               (struct ap_dataset_options){.opening = 1, .prefer = "happy", .bad_lines = 0.01},
               2317, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH(test_pairs),
        SCRATCH(test_rewrites_and_prompts),
        SCRATCH(test_messages),
        SCRATCH(test_helpsteer),
        SCRATCH(test_limit),
        SCRATCH(test_documents),
        SCRATCH(test_documents_preferred),
        SCRATCH(test_splits),
        cmocka_unit_test(test_split_borders),
        cmocka_unit_test(test_halves_are_even_in_every_split),
        cmocka_unit_test(test_real_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
