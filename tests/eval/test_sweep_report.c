/* A sweep told: the knee in sentences, table, JSON and CSV, and a page that draws every point, the
 * frontier and what is not done. */
#include "eval/sweep_report.h"

#include "base/json.h"
#include "base/memory.h"
#include "check.h"

#include <math.h>

enum { MANY = 8 };

static struct ap_interval about(double value, double half)
{
    return (struct ap_interval){value, value - half, value + half};
}

/* Reward rises and flattens with KL: the third of five is the knee. */
static void fill(struct ap_sweep_point *points, int n, char *const *values)
{
    static const double kl[] = {0.1, 0.4, 1, 2.5, 6, 7, 8, 9};
    static const double reward[] = {0.2, 0.9, 1.6, 1.8, 1.9, 1.7, 1.5, 1.2};
    static char folders[MANY][32];
    for (int i = 0; i < n; i++) {
        snprintf(folders[i], sizeof(folders[i]), "align.kl=%s", values[i]);
        points[i] =
            (struct ap_sweep_point){.values = {values[i]}, .folder = folders[i], .done = true};
        for (int j = 0; j < 2; j++) {
            struct ap_arm_statistics *arm = &points[i].judged[j];
            *arm = (struct ap_arm_statistics){.name = "align", .n_prompt = 40, .n_seed = 1};
            arm->mean = about(reward[i] * (j + 1), 0.1);
            arm->delta_bare = about(reward[i] * (j + 1) - 0.1, 0.12);
            arm->kl = about(kl[i], 0.05 * kl[i]);
        }
    }
}

static char *const values[] = {"1", "0.3", "0.1", "0.03", "0.01", "0.005", "0.002", "0.001"};
static char *keys[] = {"align.kl", "align.<steps>"};

static struct ap_sweep_results results_of(struct ap_sweep_point *points, int n)
{
    fill(points, n, values);
    return (struct ap_sweep_results){.title = "Sweep of align.kl: <run>",
                                     .arm = "align",
                                     .keys = keys,
                                     .n_keys = 1,
                                     .judges = {"reward", "wor<ld"},
                                     .n_judge = 2,
                                     .points = points,
                                     .n = n,
                                     .n_bootstrap = 2000,
                                     .version = "0"};
}

#define TOLD(fn, r) told((fn), (r))

static char *told(ap_status (*fn)(const struct ap_sweep_results *, struct ap_buffer *,
                                  struct ap_error *),
                  const struct ap_sweep_results *r)
{
    struct ap_error err;
    struct ap_buffer out = {0};
    check_ok(fn(r, &out, &err), err);
    assert_non_null(out.data);
    return out.data;
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        n++;
    return n;
}

static void test_the_knee_is_told(void **state)
{
    (void)state;
    struct ap_sweep_point points[MANY];
    struct ap_sweep_results r = results_of(points, 5);
    int n_corner;
    assert_int_equal(ap_sweep_knee(&r, 0, &n_corner), 2);
    assert_int_equal(n_corner, 5);
    char *text = TOLD(ap_sweep_sentences, &r);
    check_holds(text, "The knee under judge reward is align.kl=0.1: reward 1.60 [1.50, 1.70] at KL "
                      "1.00 [0.95, 1.05] nats.");
    check_holds(text, "The knee under judge wor<ld is align.kl=0.1: reward 3.20");
    ap_free(text);
    text = TOLD(ap_sweep_table, &r);
    check_holds(text, "\nalign.kl=0.1   1.60 [1.50, 1.70]     +1.50 [1.38, 1.62]    1.00 [0.95, "
                      "1.05]  knee\n");
    assert_int_equal(count(text, "  knee\n"), 2);
    assert_int_equal(count(text, "\nalign.kl="), 10);
    ap_free(text);
    r.n = 2;
    text = TOLD(ap_sweep_sentences, &r);
    check_holds(text, "No knee under judge reward: 2 points are on the upper concave frontier of "
                      "these values, and a knee needs three.");
    ap_free(text);
    points[1].done = false;
    r.n = 5;
    assert_int_equal(ap_sweep_knee(&r, 0, &n_corner), 2);
    assert_int_equal(n_corner, 4);
    text = TOLD(ap_sweep_table, &r);
    check_holds(text, "\nalign.kl=0.3   not done\n");
    ap_free(text);
}

static void test_json_and_csv(void **state)
{
    (void)state;
    struct ap_sweep_point points[MANY];
    struct ap_sweep_results r = results_of(points, 5);
    struct ap_error err;
    json_t *root;
    points[4].done = false;
    points[0].judged[0].kl = (struct ap_interval){NAN, NAN, NAN};
    const struct ap_frontier_point frontier[] = {{0.1, {0.5, 0.4, 0.6}, {1.7, 1.6, 1.8}}};
    r.frontier = frontier;
    r.n_frontier = 1;
    r.frontier_rewrites = 16;
    r.frontier_answers = 4;
    char *text = TOLD(ap_sweep_json, &r);
    check_ok(ap_json_parse(text, strlen(text), "sweep.json", &root, &err), err);
    const json_t *all = json_object_get(root, "points"), *first = json_array_get(all, 0);
    assert_int_equal(json_array_size(all), 5);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(first, "values"), "align.kl")), "1");
    const json_t *judged = json_object_get(json_object_get(first, "judges"), "reward");
    assert_true(json_is_null(json_object_get(json_object_get(judged, "kl"), "value")));
    check_near(json_number_value(json_object_get(json_object_get(judged, "mean"), "low")), 0.1,
               1e-12, 0);
    assert_true(json_is_false(json_object_get(json_array_get(all, 4), "done")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "knees"), "reward")),
                     2);
    const json_t *curve = json_object_get(root, "frontier");
    assert_true(json_is_false(json_object_get(curve, "exact")));
    assert_int_equal(json_integer_value(json_object_get(curve, "rewrites")), 16);
    assert_int_equal(json_array_size(json_object_get(curve, "points")), 1);
    json_decref(root);
    ap_free(text);
    text = TOLD(ap_sweep_csv, &r);
    assert_int_equal(count(text, "\n"), 1 + 2 * 4);
    check_holds(text, "\"align.kl\",folder,judge,arm,");
    check_holds(text,
                "\n\"1\",\"align.kl=1\",\"reward\",align,40,1,0.2,0.1,0.3,0.1,-0.02,0.22,,,,0\n");
    check_holds(text, ",\"reward\",align,40,1,1.6,1.5,1.7,1.5,1.38,1.62,1,0.95,1.05,1\n");
    ap_free(text);
}

static void test_the_page_draws_every_point(void **state)
{
    (void)state;
    struct ap_sweep_point points[MANY];
    struct ap_frontier_point frontier[3];
    struct ap_sweep_results r = results_of(points, 5);
    char *page = TOLD(ap_sweep_html, &r);
    assert_int_equal(count(page, "<svg "), 2);
    assert_int_equal(count(page, "<circle class=\"ring\""), 2);
    assert_int_equal(count(page, "<text class=\"point\""), 10);
    assert_int_equal(count(page, "<td>knee</td>"), 2);
    assert_int_equal(count(page, "class=\"frontier\""), 0);
    check_holds(page, "Reward against KL, judged by wor&lt;ld");
    assert_null(strstr(page, "<run>"));
    assert_null(strstr(page, "dashed curve"));
    ap_free(page);
    for (int i = 0; i < 3; i++)
        frontier[i] = (struct ap_frontier_point){0.1, {i, NAN, NAN}, {1 + 0.5 * i, NAN, NAN}};
    r.frontier = frontier;
    r.n_frontier = 3;
    points[3].done = false;
    page = TOLD(ap_sweep_html, &r);
    assert_int_equal(count(page, "<polyline class=\"frontier\""), 1); /* of the first judge */
    check_holds(page, "It is exact");
    assert_int_equal(count(page, "not done"), 2);
    assert_int_equal(count(page, "<text class=\"point\""), 8);
    ap_free(page);
    r.frontier_rewrites = 16;
    r.frontier_answers = 4;
    page = TOLD(ap_sweep_html, &r);
    check_holds(page, "estimated from 16 rewrites of the start and 4 answers to each");
    check_holds(page, "log 16 = 2.77");
    ap_free(page);
}

/* A curve for each value of the other key; of too many, numbers. */
static void test_grids(void **state)
{
    (void)state;
    struct ap_sweep_point points[MANY];
    struct ap_sweep_results r = results_of(points, MANY);
    char other[MANY][8];
    r.n_keys = 2;
    r.n_judge = 1;
    for (int i = 0; i < MANY; i++) {
        snprintf(other[i], sizeof(other[i]), "%d", i % 2 ? 100 : 200);
        points[i].values[1] = other[i];
    }
    char *page = TOLD(ap_sweep_html, &r);
    assert_int_equal(count(page, "<polyline class=\"raw"), 2);
    check_holds(page, "align.&lt;steps&gt;=100</text>");
    check_holds(page, "align.&lt;steps&gt;=200</text>");
    check_holds(page, "1. 1</th><td>200</td>");
    ap_free(page);
    for (int i = 0; i < MANY; i++)
        snprintf(other[i], sizeof(other[i]), "%d", i);
    page = TOLD(ap_sweep_html, &r);
    assert_int_equal(count(page, "<polyline class=\"raw"), 0);
    check_holds(page, ">8</text>");
    check_holds(page, "The numbers beside the points are those of the rows, where");
    ap_free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_knee_is_told),
        cmocka_unit_test(test_json_and_csv),
        cmocka_unit_test(test_the_page_draws_every_point),
        cmocka_unit_test(test_grids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
