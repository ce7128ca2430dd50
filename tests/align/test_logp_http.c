/* Log-probabilities in replies: which tokens are the answer's, for tokenizers that begin with a
 * token of their own, drop blanks or cut characters in two. From a server: test_target_faults.c. */
#include "align/logp_http.h"

#include "check.h"

#define ECHO(tokens, values)                                                                       \
    "{\"choices\":[{\"text\":\"?\",\"logprobs\":{\"tokens\":" tokens ",\"token_logprobs\":" values \
    ",\"text_offset\":[],\"top_logprobs\":null}}]}"

struct row {
    const char *prompt, *answer, *body;
    double sum; /* NaN: there is none */
};

static const struct row echoes[] = {
    {"ab", " cd", ECHO("[\"a\",\"b\",\" c\",\"d\"]", "[null,-1,-2,-4]"), -6},
    /* a token over the border is the prompt's */
    {"ab", "cd", ECHO("[\"a\",\"bc\",\"d\"]", "[null,-1,-2]"), -2},
    {"ab", "", ECHO("[\"a\",\"b\"]", "[null,-1]"), 0},
    /* begin tokens, which text_offset counts */
    {"ab", "cd", ECHO("[\"<|begin_of_text|>\",\"ab\",\"c\",\"d\"]", "[null,-1,-2,-4]"), -6},
    {"", "cd", ECHO("[\"<s>\",\"c\",\"d\"]", "[null,-2,-4]"), -6},
    {"", "cd", ECHO("[\"c\",\"d\"]", "[null,-4]"), NAN},
    /* words that are decoded alone have no blank, and the first has one that the text has not */
    {"ab cd", " ef gh", ECHO("[\"ab\",\"cd\",\"ef\",\"gh\"]", "[null,-1,-2,-4]"), -6},
    {"ab", " cd", ECHO("[\" ab\",\" cd\"]", "[null,-1]"), -1},
    {"ab ", "cd ef", ECHO("[\"ab\",\"cd\",\"ef\"]", "[null,-1,-2]"), -2},
    /* characters in parts, as U+FFFD or nothing, before, in and at the end of the answer */
    {"\xC3\xA4", "b", ECHO("[\"\\ufffd\",\"\\ufffd\",\"b\"]", "[null,-1,-2]"), -2},
    {"a", "\xF0\x9F\x98\x80z", ECHO("[\"a\",\"\",\"\",\"\",\"z\"]", "[null,-1,-2,-4,-8]"), -15},
    {"a", "\xF0\x9F\x98\x80", ECHO("[\"a\",\"\\ufffd\",\"\\ufffd\"]", "[null,-1,-2]"), -3},
    {"a",
     "\xEF\xBF\xBD"
     "b",
     ECHO("[\"a\",\"\\ufffd\",\"b\"]", "[null,-1,-2]"), -3},
    /* what the server adds is not ours */
    {"ab", "cd", ECHO("[\"ab\",\"cd\",\" and\",\" more\"]", "[null,-1,-2,-4]"), -1},
    {"ab", "cd", ECHO("[\"ab\",\"cd\",\"</s>\"]", "[null,-1,null]"), -1},
    /* none */
    {"ab", "cd", ECHO("[]", "[]"), NAN},
    {"ab", "cd", ECHO("[\"x\",\"y\"]", "[-1,-2]"), NAN}, /* not what was sent: it did not echo */
    {"ab", "cd", ECHO("[\"ab\"]", "[null]"), NAN},
    {"ab", "cd", ECHO("[\"ab\",\"xy\"]", "[null,-1]"), NAN},
    {"ab", "cd", ECHO("[\"token_id:5\",\"token_id:6\"]", "[null,-1]"), NAN},
    {"ab", "cd", ECHO("[\"ab\",\"cd\"]", "[null,null]"), NAN},
    {"ab", "cd", ECHO("[\"ab\",\"cd\"]", "[null,\"-1\"]"), NAN},
    {"ab", "cd", ECHO("[\"ab\",\"c\",\"d\"]", "[null,-1e308,-1e308]"), NAN},
    {"ab", "cd", ECHO("[\"ab\",\"cd\"]", "[null]"), NAN},
    {"ab", "cd", ECHO("[\"ab\",7]", "[null,-1]"), NAN},
    {"ab", "cd", ECHO("null", "[null,-1]"), NAN},
    {"ab", "cd", "{\"choices\":[{\"text\":\"abcd\",\"logprobs\":null}]}", NAN},
    {"ab", "cd", "{\"choices\":[]}", NAN},
    {"ab", "cd", "[]", NAN},
    {"ab", "cd", "", NAN}};

static void test_echo(void **state)
{
    (void)state;
    for (size_t i = 0; i < AP_LEN(echoes); i++) {
        const struct row *r = &echoes[i];
        char text[64];
        double sum = NAN;
        snprintf(text, sizeof(text), "%s%s", r->prompt, r->answer);
        const char *why =
            ap_logp_read_echo(r->body, strlen(r->body), text, strlen(r->prompt), &sum);
        if ((why != NULL) != isnan(r->sum) || (!why && sum != r->sum))
            fail_msg("%s|%s %s: %g, %s", r->prompt, r->answer, r->body, sum, why ? why : "taken");
    }
}

#define READ(list) "{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"prompt_logprobs\":" list "}"

static const struct {
    const char *body;
    int64_t n_skip;
    double sum;
    int64_t n_token;
} reads[] = {
    /* vLLM: the token that was read first, then likelier ones; the first token of all has none */
    {READ(
         "[null,{\"7\":{\"logprob\":-1.5,\"rank\":9,\"decoded_token\":\"a\"},\"8\":{\"logprob\":-0."
         "5,\"rank\":1}},{\"9\":{\"logprob\":-0.25,\"rank\":1}}]"),
     1, -1.75, 3},
    {READ("[null,{\"7\":{\"logprob\":-1.5}},{\"9\":{\"logprob\":-0.25}}]"), 2, -0.25, 3},
    {READ("[null,{\"7\":{\"logprob\":-1.5}}]"), 2, 0, 2},
    {"{\"choices\":[{\"prompt_logprobs\":[null,{\"7\":{\"logprob\":-2}}]}]}", 1, -2, 2},
    {READ("[null,{\"7\":{\"logprob\":-1.5}}]"), 3, NAN, 0}, /* fewer than the prompt alone has */
    {READ("[null,{\"7\":{\"logprob\":-1.5}}]"), 0, NAN, 0},
    {READ("[null,{}]"), 1, NAN, 0},
    {READ("[null,{\"7\":-1}]"), 1, NAN, 0},
    {READ("[null,{\"7\":{\"logprob\":\"-inf\"}}]"), 1, NAN, 0},
    {READ("[null,{\"7\":{\"logprob\":-1e308}},{\"8\":{\"logprob\":-1e308}}]"), 1, NAN, 0},
    {READ("null"), 0, NAN, 0},
    {READ("{}"), 0, NAN, 0},
    {"{\"choices\":[{}]}", 0, NAN, 0},
    {"7", 0, NAN, 0}};

static void test_prompt(void **state)
{
    (void)state;
    for (size_t i = 0; i < AP_LEN(reads); i++) {
        double sum = NAN;
        int64_t n = 0;
        const char *why =
            ap_logp_read_prompt(reads[i].body, strlen(reads[i].body), reads[i].n_skip, &sum, &n);
        if ((why != NULL) != isnan(reads[i].sum) ||
            (!why && (sum != reads[i].sum || n != reads[i].n_token)))
            fail_msg("%s: %g of %lld, %s", reads[i].body, sum, (long long)n, why ? why : "taken");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_echo), cmocka_unit_test(test_prompt)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
