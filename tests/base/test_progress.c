/* Notes and warnings as events; what a silent or missing sink does. */
#include "base/progress.h"
#include "check.h"

struct heard {
    int n;
    struct ap_event event;
    char text[2048];
};

static void on_event(void *context, const struct ap_event *event)
{
    struct heard *o = context;
    o->n++;
    o->event = *event;
    snprintf(o->text, sizeof(o->text), "%s", event->text);
}

static void test_texts_become_events(void **state)
{
    (void)state;
    struct heard heard = {0};
    struct ap_sink sink = {.fn = on_event, .context = &heard};
    ap_sink_note(&sink, "align", "%d prompts", 3);
    assert_int_equal(heard.event.kind, AP_EVENT_NOTE);
    assert_string_equal(heard.event.stage, "align");
    assert_string_equal(heard.text, "3 prompts");
    assert_true(isnan(heard.event.loss) && isnan(heard.event.reward) && isnan(heard.event.kl));
    ap_sink_warn(&sink, "sft", "%s", "look");
    assert_int_equal(heard.event.kind, AP_EVENT_WARN);
    assert_string_equal(heard.text, "look");
    assert_int_equal(heard.n, 2);
}

static void test_a_long_text_is_cut(void **state)
{
    (void)state;
    struct heard heard = {0};
    struct ap_sink sink = {.fn = on_event, .context = &heard};
    ap_sink_note(&sink, "align", "%5000d", 1);
    assert_int_equal(heard.n, 1);
    assert_in_range(strlen(heard.text), 100, 4999);
}

static void test_no_one_listens(void **state)
{
    (void)state;
    struct ap_sink silent = {0};
    volatile sig_atomic_t stop = 0;
    ap_sink_note(NULL, "align", "x");
    ap_sink_warn(&silent, "align", "x");
    assert_false(ap_sink_stopped(NULL));
    assert_false(ap_sink_stopped(&silent));
    silent.stop = &stop;
    assert_false(ap_sink_stopped(&silent));
    stop = 1;
    assert_true(ap_sink_stopped(&silent));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_become_events),
        cmocka_unit_test(test_a_long_text_is_cut),
        cmocka_unit_test(test_no_one_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
