/* report.html of a synthetic run: tags balance, hostile text is only text, nothing comes from
 * elsewhere, and what was promised is there. REPORT_HTML=PATH keeps the page to be looked at. */
#include "eval/html_prompts.h"
#include "eval/svg.h"

#include "base/file.h"
#include "base/memory.h"
#include "eval/synthetic_run.h"

#include <ctype.h>

static const char recipe[] = "run: {dir: runs/demo, seed: 1}\nalign: {algorithm: rloo, kl: 0.05}\n"
                             "title: '</pre><script>alert(3)</script>'\n";

static struct ap_buffer make_page(int n_prompts, int n_seeds)
{
    struct ap_error err = {0};
    struct ap_buffer page = {0};
    struct ap_database *db = synthetic_run(n_prompts, n_seeds);
    static struct ap_evaluation e;
    synthetic_evaluation(&e, db);
    struct ap_report_source source = {.db = db,
                                      .evaluation = &e,
                                      .title = "A field guide <that> answers",
                                      .recipe = recipe,
                                      .version = "0.1.0"};
    check_ok(ap_report_html(&source, &page, &err), err);
    ap_database_close(db);
    return page;
}

/* ---- a small reader of tags: every one opened is closed, in order ---- */

#define DEPTH_MAX 64

struct tags {
    char open[DEPTH_MAX][24];
    int depth, n;
    const char *fault; /* where the page first went wrong; NULL for nowhere */
};

static bool is_void(const char *name)
{
    return strcmp(name, "meta") == 0 || strcmp(name, "br") == 0 || strcmp(name, "input") == 0;
}

/* One tag from its '<' on; returns the character behind its '>'. NULL on a fault. */
static const char *read_tag(struct tags *t, const char *at)
{
    char name[24] = {0};
    bool closes = at[1] == '/';
    const char *c = at + 1 + closes;
    size_t n = 0;
    while ((isalnum((unsigned char)*c) || *c == '-') && n + 1 < sizeof(name))
        name[n++] = *c++;
    if (n == 0)
        return NULL;
    for (char quote = 0; *c && (quote || *c != '>'); c++) {
        if (*c == '<')
            return NULL;
        if (*c == '"')
            quote = quote ? 0 : '"';
    }
    if (!*c)
        return NULL;
    t->n++;
    if (closes)
        return t->depth > 0 && strcmp(t->open[--t->depth], name) == 0 ? c + 1 : NULL;
    if (c[-1] != '/' && !is_void(name)) {
        if (t->depth == DEPTH_MAX)
            return NULL;
        strcpy(t->open[t->depth++], name);
    }
    return c + 1;
}

static struct tags read_tags(const char *html)
{
    struct tags t = {.fault = NULL};
    const char *at = html + strlen("<!DOCTYPE html>");
    while (*at && !t.fault) {
        if (strncmp(at, "<style>", 7) == 0) { /* its text has its own grammar */
            at = strstr(at, "</style>") + strlen("</style>");
            continue;
        }
        if (strncmp(at, "<script>", 8) == 0 && /* ours alone */
            strncmp(at + 8, ap_html_script, strlen(ap_html_script)) == 0) {
            at += 8 + strlen(ap_html_script) + strlen("</script>");
            continue;
        }
        const char *next = *at == '<' ? read_tag(&t, at) : *at == '>' ? NULL : at + 1;
        if (!next)
            t.fault = at;
        else
            at = next;
    }
    if (t.depth > 0 && !t.fault)
        t.fault = at;
    return t;
}

static void check_tags(const char *html)
{
    struct tags t = read_tags(html);
    if (t.fault) {
        fprintf(stderr, "tags go wrong %zd bytes in, inside <%s>: %.80s\n", t.fault - html,
                t.depth > 0 ? t.open[t.depth - 1] : "", t.fault);
        fail();
    }
    assert_true(t.n > 300);
}

static void test_checker_can_fail(void **state)
{
    (void)state;
    assert_null(read_tags("<!DOCTYPE html><p a=\"1 > 0\">x<br></p>").fault);
    assert_non_null(read_tags("<!DOCTYPE html><p><b>x</p></b>").fault);
    assert_non_null(read_tags("<!DOCTYPE html><p>x").fault);
    assert_non_null(read_tags("<!DOCTYPE html><p>1 < 2</p>").fault);
    assert_non_null(read_tags("<!DOCTYPE html></p>").fault);
}

static size_t times(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

static void check_absent(const char *html, const char *part)
{
    const char *at = strstr(html, part);
    if (at) {
        fprintf(stderr, "the page holds '%s': %.60s\n", part, at);
        fail();
    }
}

/* ---- tests ---- */

static void test_page(void **state)
{
    (void)state;
    struct ap_buffer page = make_page(120, 3);
    const char *keep = getenv("REPORT_HTML");
    struct ap_error err = {0};
    if (keep)
        check_ok(ap_file_write(keep, page.data, page.len, &err), err);
    check_tags(page.data);
    assert_true(page.len < (1 << 20));
    check_holds(page.data, "<meta name=\"viewport\"");
    check_holds(page.data, "prefers-color-scheme:dark");
    check_holds(page.data, "Align-Pro beats bare by ");
    check_holds(page.data, "Reward during reinforcement learning");
    check_holds(page.data, "Loss of the stage pretrain");
    check_holds(page.data, "alignpro 0.1.0");
    check_holds(page.data, "Sampling seeds of the evaluation: 1, 2, 3");
    check_holds(page.data, "The 5 best for Align-Pro");
    check_holds(page.data, "The 5 worst for Align-Pro");
    assert_int_equal(times(page.data, "<article class=\"example\">"), 10);
    assert_int_equal(times(page.data, "<table>"), 2);
    assert_int_equal(times(page.data, "<svg "), 5 + 2 * 2);
    assert_int_equal(times(page.data, "<polyline class=\"line arm-rlhf\""), 2);
    assert_int_equal(times(page.data, "<path class=\"bars "), 6 * 2);
    assert_int_equal(times(page.data, "<path class=\"whisker "), 5 * 2 + 6 * 2);
    ap_buffer_free(&page);
}

/* The page of a run with noise: a plot and a table more a judge, each mean with its interval. */
static void test_noise(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_buffer page = {0};
    struct ap_database *db = synthetic_run(60, 1);
    static struct ap_evaluation e;
    synthetic_evaluation(&e, db);
    e.n_noise = 3;
    for (int k = 0; k < 3; k++) {
        e.noise[k] = 0.1 * k;
        for (int j = 0; j < SYNTHETIC_JUDGES; j++)
            for (int a = 0; a < SYNTHETIC_ARMS; a++)
                e.noisy[k][j][a] = (struct ap_interval){7.25 - k, 7 - k, 7.5 - k};
    }
    struct ap_report_source source = {.db = db, .evaluation = &e, .title = "t"};
    check_ok(ap_report_html(&source, &page, &err), err);
    check_tags(page.data);
    assert_int_equal(times(page.data, "<table>"), 4);
    assert_int_equal(times(page.data, "<svg "), 5 + 3 * 2);
    assert_int_equal(times(page.data, "<td>6.25<small>[6.00, 6.50]</small></td>"), 12);
    assert_int_equal(times(page.data, "<line class=\"whisker arm-align\""), 3 * 2);
    assert_int_equal(times(page.data, "<polyline class=\"line arm-best-of-n\""), 2);
    check_holds(page.data, "<th scope=\"col\">20% noise</th>");
    check_holds(page.data, "With 20% noise in the prompts Align-Pro scores 5.25 [5.00, 5.50] and");
    ap_buffer_free(&page);
    ap_database_close(db);
}

/* How the texts look, in numbers that can be counted by hand, and what to be careful about. */
static void test_texts_and_cautions(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_buffer page = {0}, text = {0};
    static struct ap_evaluation e;
    const struct ap_monitor_settings monitor = {.limits[AP_MONITOR_REWRITE_LENGTH] = {{20, 30}, 2},
                                                .limits[AP_MONITOR_REPETITION] = {{0.9}, 1}};
    const char *const unasked[] = {"world"};
    struct ap_database *db = synthetic_run(60, 1);
    synthetic_evaluation(&e, db);
    check_ok(ap_evaluate_texts(&e, db, &err), err);
    const int align = ap_arm_find(&e, "align"), bare = ap_arm_find(&e, "bare"),
              rlhf = ap_arm_find(&e, "rlhf");
    double tokens = 0, cut = 0;
    for (int p = 0; p < 60; p++) {
        tokens += (18 + p % 9) / 60.0;
        cut += (p % 9 == 0) / 60.0;
    }
    check_near(e.texts[align].monitors[AP_MONITOR_REWRITE_LENGTH], tokens, 1e-12, 0);
    check_near(e.texts[align].monitors[AP_MONITOR_MISSING_END], 0, 0, 0);
    check_near(e.texts[rlhf].monitors[AP_MONITOR_MISSING_END], cut, 1e-12, 0);
    check_near(e.texts[rlhf].answer_missing_end, cut, 1e-12, 0);
    assert_true(isnan(e.texts[bare].monitors[AP_MONITOR_DRIFT]));
    assert_true(e.texts[align].monitors[AP_MONITOR_COPY] > 0.1);

    check_ok(ap_evaluation_cautions(&e, &monitor, unasked, 1, &text, &err), err);
    check_holds(text.data, "the rewrite_length of Align-Pro on the test set is 21.9, beyond the "
                           "warning of 20.");
    assert_null(strstr(text.data, "repetition"));
    assert_null(strstr(text.data, "no training step asked")); /* the world follows */
    const int world = 1;
    e.arms[world][align].delta_bare = (struct ap_interval){-0.1, -0.4, 0.2};
    ap_buffer_clear(&text);
    check_ok(ap_evaluation_cautions(&e, NULL, unasked, 1, &text, &err), err);
    check_holds(text.data, "Caution: Align-Pro gains +");
    check_holds(text.data, "-0.10 [-0.40, 0.20] under world, which no training step asked");
    assert_int_equal(times(text.data, "\n"), 1);
    /* every arm that reaches for the reward, and what is worse than no gain */
    e.arms[world][rlhf].delta_bare = (struct ap_interval){-0.5, -0.7, -0.3};
    ap_buffer_clear(&text);
    check_ok(ap_evaluation_cautions(&e, NULL, unasked, 1, &text, &err), err);
    check_holds(text.data, "Caution: RLHF gains +");
    check_holds(text.data, "-0.50 [-0.70, -0.30] under world");
    assert_int_equal(times(text.data, "\n"), 2);

    for (int i = 0; i < 8; i++) {
        check_ok(ap_database_metric(db, "align", i, "valid_reward", 0.1 * i, &err), err);
        check_ok(ap_database_metric(db, "align", i, "valid_<b>", -0.1 * i, &err), err);
        check_ok(ap_database_metric(db, "align", i, "gap", 0.2 * i, &err), err);
        check_ok(ap_database_metric(db, "rlhf", i, "repetition", 0.01 * i, &err), err);
    }
    struct ap_report_source source = {.db = db,
                                      .evaluation = &e,
                                      .title = "t",
                                      .monitor = &monitor,
                                      .unasked = unasked,
                                      .n_unasked = 1};
    check_ok(ap_report_html(&source, &page, &err), err);
    check_tags(page.data);
    check_holds(page.data, "<h2>How the texts look</h2>");
    check_holds(page.data, "<li class=\"caution\">Caution: Align-Pro gains +");
    check_holds(page.data, "Align-Pro on valid prompts, by judge");
    check_holds(page.data, "&lt;b&gt;");
    check_holds(page.data, "Reward ahead of the held-out judge");
    assert_int_equal(times(page.data, "<table>"), 3);
    assert_int_equal(times(page.data, "<svg "), 5 + 2 * 2 + 3);
    check_absent(page.data, "does not count are left out");
    ap_buffer_clear(&page);
    e.arms[0][bare].answer_tokens.value = NAN; /* one of the server's answers says no number */
    check_ok(ap_report_html(&source, &page, &err), err);
    check_holds(page.data, "tokens the server does not count are left out");
    ap_buffer_free(&page);
    ap_buffer_clear(&text);
    check_ok(ap_evaluation_json(&e, &text, &err), err);
    check_holds(text.data, "\"texts\": [");
    check_holds(text.data, "\"answer_missing_end\": ");
    check_absent(text.data, "\"gap\"");
    ap_buffer_free(&text);
    ap_database_close(db);
}

static void test_hostile_text_is_text(void **state)
{
    (void)state;
    struct ap_buffer page = make_page(60, 1);
    check_tags(page.data);
    assert_int_equal(times(page.data, "<script"), 1); /* the search, at the end */
    check_absent(page.data, "<img");
    check_absent(page.data, "\xE2\x80\xAE"); /* right-to-left override */
    check_absent(page.data, "\x01");
    check_holds(page.data, "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt;"
                           "&quot;&#39;&amp;&lt;/td&gt;&lt;/svg&gt;&lt;/blockquote&gt;");
    check_holds(page.data, "&lt;/pre&gt;&lt;script&gt;alert(3)");
    check_holds(page.data, "<h1>A field guide &lt;that&gt; answers</h1>");
    check_holds(page.data, "cut \xEF\xBF\xBD byte \xEF\xBF\xBD \xEF\xBF\xBD turned");
    check_holds(page.data, "2095 more bytes"); /* 4095 of an answer, 2000 shown */
    ap_buffer_free(&page);
}

static void test_nothing_from_elsewhere(void **state)
{
    (void)state;
    struct ap_buffer page = make_page(60, 1);
    static const char *const parts[] = {"http:",   "https:", " src=\"", " href=", "url(",
                                        "@import", "<link",  "<iframe", "<object"};
    for (size_t i = 0; i < AP_LEN(parts); i++)
        check_absent(page.data, parts[i]);
    check_holds(page.data, "default-src 'none'");
    check_absent(page.data, "nan");
    check_absent(page.data, "inf\"");
    ap_buffer_free(&page);
}

/* ---- all prompts ---- */

static void check_diff(const char *from, const char *to, const char *want)
{
    struct ap_error err = {0};
    struct ap_buffer text = {0};
    struct ap_page page = {.out = &text, .err = &err};
    check_ok(ap_buffer_puts(&text, "", &err), err);
    ap_html_diff(&page, from, to);
    check_ok(page.status, err);
    assert_string_equal(text.data, want);
    ap_buffer_free(&text);
}

static void test_diff(void **state)
{
    (void)state;
    check_diff("", "", "");
    check_diff("a b", "a b", "a b");
    check_diff("a  b\n", "a b", "a b"); /* white space is no change */
    check_diff("", "a <b>", "<ins>a &lt;b&gt;</ins>");
    check_diff("a & b", "", "<del>a &amp; b</del>");
    check_diff("the cat sat", "the dog sat", "the <del>cat </del> <ins>dog </ins>sat");
    check_diff("a b c d", "b c x d", "<del>a </del>b c <ins>x </ins>d");
    check_diff("x y", "y x", "<del>x </del>y <ins>x</ins>");
    check_diff(" lead", "lead", "<del> lead</del> <ins>lead</ins>");
}

/* Of a diff without its <del> parts there is left the new text, without <ins> the old one: random
 * words, and texts past every bound. */
static void test_diff_holds_both(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct ap_random r;
        struct ap_error err = {0};
        struct ap_buffer text[2] = {{0}}, diff = {0}, left[2] = {{0}};
        struct ap_page page = {.out = &diff, .err = &err};
        int most = round < 50 ? 12 : 1500;
        ap_random_init(&r, &(struct ap_stream){.seed = 12, .record = (uint64_t)round});
        for (int t = 0; t < 2; t++)
            for (int n = (int)ap_random_below(&r, (uint32_t)most) + 1; n > 0; n--)
                check_ok(ap_buffer_printf(&text[t], &err, "%c ", 'a' + (int)ap_random_below(&r, 5)),
                         err);
        ap_html_diff(&page, text[0].data, text[1].data);
        check_ok(page.status, err);
        for (int t = 0; t < 2; t++) {
            bool shown = true;
            for (const char *c = diff.data; *c; c++) {
                if (*c == '<') {
                    bool closes = c[1] == '/', del = c[1 + closes] == 'd';
                    shown = closes || del == (t == 0);
                    c = strchr(c, '>');
                } else if (shown && *c != ' ') {
                    check_ok(ap_buffer_printf(&left[t], &err, "%c ", *c), err);
                }
            }
            assert_string_equal(left[t].data, text[t].data);
        }
        for (int t = 0; t < 2; t++) {
            ap_buffer_free(&text[t]);
            ap_buffer_free(&left[t]);
        }
        ap_buffer_free(&diff);
    }
}

static void test_all_prompts(void **state)
{
    (void)state;
    struct ap_buffer page = make_page(60, 2);
    assert_int_equal(times(page.data, "<details class=\"prompt\" data-gain=\""), 60);
    assert_int_equal(times(page.data, "<blockquote dir=\"auto\" class=\"diff\">"), 60 * 4);
    check_holds(page.data, "data-gain=\"-8\"><summary><span class=\"number\">7</span>");
    check_holds(page.data, "script-src 'sha256-");
    check_absent(page.data, "more test prompts are left out");
    const char *list = strstr(page.data, "<div id=\"prompts\">");
    assert_non_null(list);
    assert_true(strstr(list, "number\">8</span>") < strstr(list, "number\">59</span>"));
    ap_buffer_free(&page);
}

/* What would make the page too large to open is left out, and said to be. */
static void test_prompts_past_the_ceiling(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_buffer out = {0};
    struct ap_page page = {.out = &out, .err = &err};
    static struct ap_evaluation e;
    struct ap_prompt_rows rows = {.n = 3000, .n_more = 5};
    char *answer = ap_strdup("&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&");
    struct ap_database *db = synthetic_run(3, 1);
    synthetic_evaluation(&e, db);
    rows.items = ap_calloc(rows.n, sizeof(*rows.items));
    struct ap_buffer text = {0};
    while (text.len < 1900)
        check_ok(ap_buffer_puts(&text, answer, &err), err);
    for (size_t i = 0; i < rows.n; i++) { /* borrowed texts */
        rows.items[i].prompt = answer;
        for (int a = 0; a < SYNTHETIC_ARMS; a++)
            rows.items[i].arms[a].answer = text.data;
    }
    ap_html_prompts(&page, &e, &rows);
    check_ok(page.status, err);
    assert_in_range(out.len, AP_PROMPTS_BYTES_MAX, AP_PROMPTS_BYTES_MAX + (1 << 18));
    size_t shown = times(out.data, "<details");
    char note[64];
    snprintf(note, sizeof(note), ">%zu more test prompts are left out", 3000 - shown + 5);
    check_holds(out.data, note);
    ap_free(rows.items);
    ap_free(answer);
    ap_buffer_free(&text);
    ap_buffer_free(&out);
    ap_database_close(db);
}

/* A run that has only begun, and one without the two arms of the examples. */
static void test_partial_runs(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_buffer page = {0};
    struct ap_database *db = NULL;
    check_ok(ap_database_open(&db, ":memory:", &err), err);
    struct ap_report_source source = {.db = db};
    check_ok(ap_report_html(&source, &page, &err), err);
    check_holds(page.data, "No stage has written a metric yet");
    assert_null(read_tags(page.data).fault);
    check_ok(ap_database_metric(db, "align", 1, "reward", 0.5, &err), err);
    check_ok(ap_database_metric(db, "align", 1, "kl", NAN, &err), err);
    ap_buffer_clear(&page);
    check_ok(ap_report_html(&source, &page, &err), err);
    assert_int_equal(times(page.data, "<svg "), 1);
    assert_null(read_tags(page.data).fault);
    ap_database_close(db);

    static struct ap_evaluation e;
    db = synthetic_run(3, 1);
    check_ok(ap_evaluate(&e, db, (char *[]){"sft", "rlhf"}, 2, (char *[]){"world"}, 1, 50, 1, &err),
             err);
    source = (struct ap_report_source){.db = db, .evaluation = &e};
    ap_buffer_clear(&page);
    check_ok(ap_report_html(&source, &page, &err), err);
    assert_null(read_tags(page.data).fault);
    check_absent(page.data, "<article");
    check_absent(page.data, "Gain over bare");
    ap_database_close(db);
    ap_buffer_free(&page);
}

/* Three prompts: two best, one worst, none twice. */
static void test_few_examples(void **state)
{
    (void)state;
    struct ap_buffer page = make_page(3, 1);
    check_tags(page.data);
    check_holds(page.data, "The 2 best");
    check_holds(page.data, "The 1 worst");
    for (int i = 0; i < 3; i++) {
        char text[64];
        snprintf(text, sizeof(text), "<small>test prompt %d</small>", i);
        assert_int_equal(times(page.data, text), 1);
    }
    ap_buffer_free(&page);
}

/* A page that does not fit says so and is not half believed. */
static void test_full_buffer(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_buffer page = {.max = 20000};
    struct ap_database *db = synthetic_run(3, 1);
    struct ap_report_source source = {.db = db, .title = "t"};
    assert_int_equal(ap_report_html(&source, &page, &err), AP_LIMIT);
    assert_true(err.text[0] != '\0');
    ap_database_close(db);
    ap_buffer_free(&page);
}

static void check_axis(double low, double high, double want_low, double want_high, double step)
{
    struct ap_axis axis = ap_axis_nice(low, high, 5);
    check_near(axis.low, want_low, 1e-9, 0);
    check_near(axis.high, want_high, 1e-9, 0);
    check_near(axis.step, step, 1e-9, 0);
}

static void test_axes(void **state)
{
    (void)state;
    check_axis(0, 10, 0, 10, 2);
    check_axis(-0.7, 1.1, -1, 1.5, 0.5);
    check_axis(1, 80, 0, 80, 20);
    check_axis(3, 3, 1, 5, 1);
    check_axis(0, 0, -0.6, 0.6, 0.2);
    check_axis(NAN, 1, 0, 1, 0.2);
    check_axis(-INFINITY, INFINITY, 0, 1, 0.2);
    assert_int_equal(ap_axis_nice(0, 1, 4).decimals, 2);
    assert_int_equal(ap_axis_nice(0, 100, 5).decimals, 0);
    for (int i = 0; i < 2000; i++) { /* any range is covered by a handful of ticks */
        struct ap_random r;
        ap_random_init(&r, &(struct ap_stream){.seed = 8, .record = (uint64_t)i});
        double a = ap_random_normal(&r) * pow(10, 12 * ap_random_uniform(&r) - 6),
               b = a + fabs(ap_random_normal(&r)) * pow(10, 12 * ap_random_uniform(&r) - 6);
        struct ap_axis axis = ap_axis_nice(a, b, 5);
        double slack = 1e-6 * axis.step;
        assert_true(axis.low <= a + slack && b <= axis.high + slack);
        assert_in_range((long)((axis.high - axis.low) / axis.step + 0.5), 1, 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checker_can_fail),
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_texts_and_cautions),
        cmocka_unit_test(test_hostile_text_is_text),
        cmocka_unit_test(test_nothing_from_elsewhere),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_diff_holds_both),
        cmocka_unit_test(test_all_prompts),
        cmocka_unit_test(test_prompts_past_the_ceiling),
        cmocka_unit_test(test_partial_runs),
        cmocka_unit_test(test_few_examples),
        cmocka_unit_test(test_full_buffer),
        cmocka_unit_test(test_axes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
