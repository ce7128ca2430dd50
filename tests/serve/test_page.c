/* The page's three files: what they are served as, and that they hold to the page's policy. What a
 * person sees is test_page.sh's. */
#include "world.h"

#include "serve/page.h"

static void test_served(void **state)
{
    static const char *const parts[][3] = {
        {"/", "text/html; charset=utf-8", "<!doctype html>"},
        {"/page.css", "text/css; charset=utf-8", "prefers-color-scheme: dark"},
        {"/page.js", "text/javascript; charset=utf-8", "\"use strict\""},
    };
    struct world *w = world_begin(false, false);
    (void)state;
    for (size_t i = 0; i < AP_LEN(parts); i++) {
        struct wire_reply r = wire_get(w->port, parts[i][0]);
        assert_string_equal(wire_header(&r, "Content-Type"), parts[i][1]);
        assert_string_equal(wire_header(&r, "Content-Security-Policy"), ap_page_policy);
        assert_string_equal(wire_header(&r, "X-Content-Type-Options"), "nosniff");
        check_reply(r, 200, parts[i][2]);
    }
    check_reply(wire_get(w->port, "/page.html"), 404, "unknown_url");
    check_reply(wire_post(w->port, "/page.js", "", ""), 405, "method_not_allowed");
    world_end(w);
}

/* The policy would stop these in a browser, silently. */
static void test_of_one_piece(void **state)
{
    static const char *const never[] = {"http:",     "https:",         "<style",
                                        " style=",   "onclick=",       "innerHTML",
                                        "outerHTML", "insertAdjacent", "eval(",
                                        "@import",   "url(",           "localStorage",
                                        "srcdoc",    "sessionStor",    "document.write"};
    static const char *const paths[] = {"/", "/page.css", "/page.js"};
    const char *type;
    (void)state;
    for (size_t i = 0; i < AP_LEN(paths); i++)
        for (size_t k = 0; k < AP_LEN(never); k++)
            if (strstr(ap_page(paths[i], &type), never[k]))
                fail_msg("%s holds %s", paths[i], never[k]);
    check_holds(ap_page("/", &type), "href=\"page.css\"");
    check_holds(ap_page("/", &type), "src=\"page.js\"");
    assert_null(ap_page("/page.html", &type));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_served),
        cmocka_unit_test(test_of_one_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
