/* Runs side by side: cells, means over cells, what is refused; JSON, CSV, LaTeX, the page, and the
 * paper's figures. COMPARE_HTML=PATH keeps a page to be looked at. */
#include "eval/compare.h"

#include "base/file.h"
#include "base/json.h"
#include "eval/paper.h"
#include "eval/report_page.h"
#include "eval/synthetic_run.h"

static char *const arms[] = {"bare", "align", "rlhf"}, *const judges[] = {"reward"};
static const struct ap_cell_source of_three = {NULL, arms, judges, 3, 1};

/* A run of its own: align gains `gain`, rlhf one. */
static struct ap_database *make_run(uint64_t run, int n_prompt, int n_seed, double gain)
{
    struct ap_database *db = NULL;
    struct ap_error err = {0};
    const double shift[] = {0, gain, 1};
    check_ok(ap_database_open(&db, ":memory:", &err), err);
    check_ok(ap_database_begin(db, &err), err);
    for (int p = 0; p < n_prompt; p++)
        for (int s = 0; s < n_seed; s++)
            for (int a = 0; a < 3; a++) {
                struct ap_random r;
                char prompt[32];
                ap_random_init(&r, &(struct ap_stream){.seed = run,
                                                       .record = (uint64_t)p,
                                                       .step = (uint32_t)s,
                                                       .sample = (uint32_t)a});
                snprintf(prompt, sizeof(prompt), "prompt %d", p);
                struct ap_evaluation_record row = {.arm = arms[a],
                                                   .seed = s + 1,
                                                   .record = (uint64_t)p,
                                                   .sample = -1,
                                                   .prompt = prompt,
                                                   .answer = "y",
                                                   .answer_ended = true,
                                                   .kl = NAN};
                check_ok(ap_database_evaluation(db, &row, &err), err);
                check_ok(ap_database_score(db, arms[a], s + 1, (uint64_t)p, -1, "reward",
                                           shift[a] + 0.3 * ap_random_normal(&r), &err),
                         err);
            }
    check_ok(ap_database_commit(db, &err), err);
    return db;
}

static ap_status add(struct ap_comparison *c, const char *data, const char *prompter,
                     const char *target, const struct ap_evaluated_run *runs, int n_run,
                     struct ap_error *err)
{
    static const struct ap_cell_run origins[2] = {{"runs/a", "run.seed 1", 7},
                                                  {"runs/b & <b>", "run.seed 2", 8}};
    struct ap_cell cell = {
        .data = data, .prompter = prompter, .target = target, .runs = origins, .n_run = n_run};
    struct ap_cell_source source = of_three;
    source.runs = runs;
    return ap_comparison_add(c, &cell, &source, 1, err);
}

/* Of two runs the values are means of the runs' own; each is one draw. Of a cell and its copy the
 * mean is the cell, its interval too, because both draw alike. */
static void test_cells_and_means(void **state)
{
    (void)state;
    struct ap_database *db[3] = {make_run(1, 30, 2, 0.5), make_run(2, 30, 2, 0.9),
                                 make_run(3, 25, 1, 0.2)};
    const struct ap_evaluated_run runs[] = {{"a", db[0]}, {"b", db[1]}}, third = {"c", db[2]};
    static struct ap_comparison c;
    static struct ap_evaluation alone[2];
    struct ap_error err = {0};
    c = (struct ap_comparison){.n_bootstrap = 400};
    check_ok(add(&c, "x", "p", "t", runs, 2, &err), err);
    check_ok(add(&c, "y", "p", "t", runs, 2, &err), err);
    check_ok(ap_comparison_finish(&c, &err), err);
    for (int i = 0; i < 2; i++)
        check_ok(ap_evaluate(&alone[i], db[i], arms, 3, judges, 1, 50, 1, &err), err);
    const struct ap_arm_statistics *align = ap_cell_arm(&c.cells[0], "reward", "align");
    check_near(align->mean.value,
               (alone[0].arms[0][1].mean.value + alone[1].arms[0][1].mean.value) / 2, 1e-12, 0);
    assert_int_equal(align->n_seed, 2);
    assert_int_equal(align->n_prompt, 30);
    assert_int_equal(c.n_average, 1); /* of one cell there is no mean */
    const struct ap_average *all = &c.averages[0];
    assert_null(all->data);
    assert_int_equal(all->n_cell, 2);
    check_near(all->arms[1].share_bare.value, align->share_bare.value, 1e-12, 0);
    check_near(all->arms[1].share_bare.low, align->share_bare.low, 1e-12, 0);
    check_near(all->arms[1].delta_bare.high, align->delta_bare.high, 1e-12, 0);
    /* Runs that differ: 0.5 and 0.9, so the interval is wide. */
    assert_true(align->delta_bare.high - align->delta_bare.low > 0.3);
    ap_comparison_free(&c);

    c = (struct ap_comparison){.n_bootstrap = 400};
    check_ok(add(&c, "x", "p", "t", &runs[0], 1, &err), err);
    check_ok(add(&c, "x", "q", "t", &third, 1, &err), err);
    check_ok(ap_comparison_finish(&c, &err), err);
    assert_int_equal(c.n_average, 2); /* of all, of x */
    check_near(c.averages[1].arms[1].mean.value,
               (ap_cell_arm(&c.cells[0], "reward", "align")->mean.value +
                ap_cell_arm(&c.cells[1], "reward", "align")->mean.value) /
                   2,
               1e-12, 0);
    ap_comparison_free(&c);
    for (int i = 0; i < 3; i++)
        ap_database_close(db[i]);
}

/* A cell without a gap is left out of the share's mean, and of nothing else. */
static void test_mean_without_a_gap(void **state)
{
    (void)state;
    struct ap_database *with = make_run(1, 30, 1, 0.5), *without = make_run(2, 5, 1, 0.5);
    const struct ap_evaluated_run a = {"a", with}, b = {"b", without};
    static struct ap_comparison c;
    struct ap_error err = {0};
    struct ap_buffer text = {0};
    c = (struct ap_comparison){.n_bootstrap = 100};
    check_ok(add(&c, "x", "p", "t", &a, 1, &err), err);
    check_ok(add(&c, "y", "p", "t", &b, 1, &err), err); /* five prompts: no intervals, no gap */
    check_ok(ap_comparison_finish(&c, &err), err);
    const struct ap_average *all = &c.averages[0];
    assert_int_equal(all->n_of[1][AP_AT_share_bare], 1);
    assert_int_equal(all->n_of[1][AP_AT_mean], 2);
    check_near(all->arms[1].share_bare.value,
               ap_cell_arm(&c.cells[0], "reward", "align")->share_bare.value, 1e-12, 0);
    assert_true(isnan(all->arms[1].mean.low)); /* one of the two has none */
    check_ok(ap_comparison_sentences(&c, &text, &err), err);
    check_holds(text.data, "(in 1 of 2 cells; the others have no such gap).");
    check_holds(text.data, "y: fewer than 10 prompts give no intervals");
    ap_buffer_free(&text);
    ap_comparison_free(&c);
    ap_database_close(with);
    ap_database_close(without);
}

static void test_refusals(void **state)
{
    (void)state;
    struct ap_database *db[3] = {make_run(1, 12, 2, 0.5), make_run(2, 13, 2, 0.9),
                                 make_run(3, 12, 1, 0.2)};
    const struct ap_evaluated_run more[] = {{"a", db[0]}, {"b", db[1]}},
                                  fewer[] = {{"a", db[0]}, {"c", db[2]}};
    static struct ap_comparison c;
    struct ap_error err = {0};
    c = (struct ap_comparison){.n_bootstrap = 20};
    assert_int_equal(add(&c, "x", "p", "t", more, 2, &err), AP_INVALID);
    check_holds(err.text, "its test prompts are not those of");
    check_holds(err.text, "test prompt 12 is missing");
    assert_int_equal(add(&c, "x", "p", "t", fewer, 2, &err), AP_INVALID);
    check_holds(err.text, "c: has 1 sampling seed and a 2");
    assert_int_equal(ap_comparison_finish(&c, &err), AP_INVALID);
    for (int i = 0; i < AP_CELLS_MAX; i++)
        check_ok(add(&c, "x", "p", "t", more, 1, &err), err);
    assert_int_equal(add(&c, "x", "p", "t", more, 1, &err), AP_LIMIT);
    check_holds(err.text, "more than 64 cells");
    ap_comparison_free(&c);
    for (int i = 0; i < 3; i++)
        ap_database_close(db[i]);
}

/* ---- what is written ---- */

/* Two prompters and two targets on a data set of the paper, one cell of names that bite. */
static void five_cells(struct ap_comparison *c, struct ap_database *db)
{
    const struct ap_evaluated_run runs[] = {{"a", db}};
    struct ap_error err = {0};
    *c = (struct ap_comparison){.n_bootstrap = 50};
    check_ok(add(c, "helpSTEER", "phi", "small", runs, 1, &err), err);
    check_ok(add(c, "helpSTEER", "phi", "large", runs, 1, &err), err);
    check_ok(add(c, "helpSTEER", "qwen", "small", runs, 1, &err), err);
    check_ok(add(c, "helpSTEER", "qwen", "large", runs, 1, &err), err);
    check_ok(add(c, "<i>&%$#_{}~^\\\"|\x01\xFF", "phi", "small", runs, 1, &err), err);
    check_ok(ap_comparison_finish(c, &err), err);
}

static int n_unescaped(const char *line, char c)
{
    int n = 0;
    for (const char *at = line; *at && *at != '\n'; at++) {
        if (*at == '\\') {
            at++; /* what stands behind it is escaped */
            continue;
        }
        n += *at == c;
    }
    return n;
}

static void check_tex(const char *text)
{
    int n_row = 0, depth = 0;
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        if (*line == '%')
            continue;
        depth += n_unescaped(line, '{') - n_unescaped(line, '}');
        assert_int_equal(depth, 0);
        assert_int_equal(n_unescaped(line, '%') + n_unescaped(line, '#') + n_unescaped(line, '_') +
                             n_unescaped(line, '~') + n_unescaped(line, '^'),
                         0);
        assert_int_equal(n_unescaped(line, '$') % 2, 0);
        if (n_unescaped(line, '&') == 10)
            n_row++;
    }
    assert_int_equal(n_row, 1 + 5 + 2); /* the names of columns, cells, means */
}

static void test_texts(void **state)
{
    (void)state;
    struct ap_database *db = make_run(1, 20, 1, 0.5);
    static struct ap_comparison c;
    struct ap_error err = {0};
    struct ap_buffer json = {0}, csv = {0}, tex = {0}, page = {0};
    json_t *root;
    five_cells(&c, db);

    check_ok(ap_comparison_tex(&c, &tex, &err), err);
    check_tex(tex.data);
    check_holds(tex.data, "\\textless{}i\\textgreater{}\\&\\%\\$\\#\\_\\{\\}\\textasciitilde{}"
                          "\\textasciicircum{}\\textbackslash{}''\\textbar{}?? & phi");
    check_ok(ap_comparison_csv(&c, &csv, &err), err);
    check_holds(csv.data, "data,prompter,target,runs,judge,arm,prompts,seeds,mean,");
    check_holds(csv.data, "\n\"helpSTEER\",\"phi\",\"small\",1,\"reward\",\"align\",20,1,");
    check_ok(ap_comparison_html(&c, "0.1.0", &page, &err), err);
    if (getenv("COMPARE_HTML"))
        check_ok(ap_file_write(getenv("COMPARE_HTML"), page.data, page.len, &err), err);
    check_holds(page.data, "&lt;i&gt;&amp;%$#_{}~^\\&quot;|");
    check_holds(page.data, "the paper: HelpSteer<small>P2-F1</small>");
    check_holds(page.data, "<span class=\"number\">5</span> &lt;i&gt;");
    check_holds(page.data, ">cell 5</text>");
    check_holds(page.data, ">mean of all</text>");
    assert_null(strstr(page.data, "<i>&"));
    assert_null(strstr(page.data, "<script"));
    assert_null(strstr(page.data, "nan"));

    assert_int_equal(ap_comparison_json(&c, &json, &err), AP_INVALID); /* a name is no UTF-8 */
    c.cells[4].data = "z";
    for (int i = 0; i < c.n_average; i++)
        assert_true(!c.averages[i].data || strcmp(c.averages[i].data, "helpSTEER") == 0);
    check_ok(ap_comparison_json(&c, &json, &err), err);
    check_ok(ap_json_parse(json.data, json.len, "compare.json", &root, &err), err);
    const json_t *cells = json_object_get(root, "cells"), *cell = json_array_get(cells, 2);
    assert_int_equal(json_array_size(cells), 5);
    assert_string_equal(json_string_value(json_object_get(json_object_get(cell, "paper"), "cell")),
                        "P2-F1");
    assert_true(json_is_null(json_object_get(json_array_get(cells, 4), "paper")));
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(cell, "runs"), 0), "recipe")),
                        "0000000000000007");
    assert_int_equal(json_array_size(json_object_get(root, "averages")), 2);
    json_decref(root);
    ap_buffer_free(&json);
    ap_buffer_free(&csv);
    ap_buffer_free(&tex);
    ap_buffer_free(&page);
    ap_comparison_free(&c);
    ap_database_close(db);
}

/* A second prompter on another data set is no P2 of this one: all four cells are shown. */
static void test_one_cell_of_the_papers(void **state)
{
    (void)state;
    struct ap_database *db = make_run(1, 12, 1, 0.5);
    const struct ap_evaluated_run run = {"a", db};
    static struct ap_comparison c;
    struct ap_error err = {0};
    struct ap_buffer page = {0};
    c = (struct ap_comparison){.n_bootstrap = 20};
    check_ok(add(&c, "orca", "p", "t", &run, 1, &err), err);
    check_ok(add(&c, "x", "q", "u", &run, 1, &err), err);
    check_ok(ap_comparison_finish(&c, &err), err);
    assert_null(ap_comparison_paper(&c, 0));
    assert_null(ap_comparison_paper(&c, 1));
    check_ok(ap_comparison_html(&c, NULL, &page, &err), err);
    check_holds(page.data, "the paper: Orca<small>P1-F1</small>");
    check_holds(page.data, "the paper: Orca<small>P2-F2</small>");
    ap_buffer_free(&page);
    ap_comparison_free(&c);
    ap_database_close(db);
}

/* math.md section 4: 67% on average; UltraFeedback 82%, HelpSteer 77%, Orca 41%; the lowest
 * variance in 10 of 12. */
static void test_the_papers_own(void **state)
{
    (void)state;
    const struct {
        const char *data;
        int percent;
    } sets[] = {{"ultrafeedback", 82}, {"HELPSTEER", 77}, {"Orca", 41}};
    double total = 0;
    int n_lowest = 0;
    for (int d = 0; d < 3; d++) {
        double sum = 0;
        for (int i = 0; i < 4; i++)
            sum += ap_paper_share(ap_paper_find(sets[d].data, i / 2, i % 2));
        assert_int_equal(lround(100 * sum / 4), sets[d].percent);
        total += sum;
    }
    for (int i = 0; i < ap_n_paper_cells; i++) {
        const double *v = ap_paper_cells[i].variance;
        n_lowest += v[1] < v[0] && v[1] < v[2];
    }
    assert_int_equal(lround(100 * total / 12), 67);
    assert_int_equal(n_lowest, 10);
    assert_null(ap_paper_find("helpsteer2", -1, -1));
    assert_null(ap_paper_find("orca", 2, 0));
    assert_string_equal(ap_paper_find("orca", 1, 0)->cell, "P2-F1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells_and_means),
        cmocka_unit_test(test_mean_without_a_gap),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_one_cell_of_the_papers),
        cmocka_unit_test(test_the_papers_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
