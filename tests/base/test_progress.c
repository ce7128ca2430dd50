/* Events reach the sink, and nothing happens without one. */
#include "check.h"

#include "base/progress.h"

struct seen {
    int n;
    ap_event_kind kind;
    char stage[16], text[64];
    bool is_nan;
};

static void keep(void *context, const struct ap_event *event)
{
    struct seen *seen = context;
    seen->n++;
    seen->kind = event->kind;
    seen->is_nan = isnan(event->loss) && isnan(event->reward) && isnan(event->kl);
    snprintf(seen->stage, sizeof(seen->stage), "%s", event->stage);
    snprintf(seen->text, sizeof(seen->text), "%s", event->text);
}

static void test_texts(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct ap_sink sink = {.fn = keep, .context = &seen};
    ap_sink_note(&sink, "sft", "%d lines of %s", 3, "a\033[2Jb");
    assert_int_equal(seen.kind, AP_EVENT_NOTE);
    assert_string_equal(seen.stage, "sft");
    assert_string_equal(seen.text, "3 lines of a?[2Jb");
    assert_true(seen.is_nan);
    ap_sink_warn(&sink, "align", "look");
    assert_int_equal(seen.kind, AP_EVENT_WARN);
    assert_int_equal(seen.n, 2);
    ap_sink_warn(NULL, "align", "unheard");
    ap_sink_note(&(struct ap_sink){0}, "align", "unheard");
}

static void test_stop(void **state)
{
    (void)state;
    volatile sig_atomic_t stop = 0;
    struct ap_sink sink = {.stop = &stop};
    assert_false(ap_sink_stopped(&sink));
    stop = 1;
    assert_true(ap_sink_stopped(&sink));
    assert_false(ap_sink_stopped(NULL));
    assert_false(ap_sink_stopped(&(struct ap_sink){0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts), cmocka_unit_test(test_stop)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
