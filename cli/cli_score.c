/* alignpro score: log-probabilities of a text's tokens, or a classifier's score, as JSON lines or
 * for one text. */
#include "cli_model.h"

#include <stdlib.h>
#include <string.h>

static int help(void)
{
    puts("usage: alignpro score --model DIR [--adapter DIR] [--context N] [TEXT]\n"
         "Natural logarithms of the probabilities of tokens: {\"ids\"} or {\"text\"} lines in,\n"
         "{\"logprobs\", \"sum\", \"tokens\"} lines out; the first token has none, tokens is how "
         "many\n"
         "there are. {\"prompt\", \"response\"} goes through the chat template and gives those of "
         "the\n"
         "answer and its end token. A classifier gives {\"score\"}, its raw head.\n" CLI_MODEL_HELP
         "  TEXT                  one text; the answer is plain text");
    return cli_finish(CLI_OK);
}

/* What is scored: ids from `first` on; the tokens before are given. */
struct record {
    struct ap_ids ids;
    size_t first;
};

static ap_status encode_answer(const struct ap_engine *e, const json_t *in, struct record *r,
                               struct ap_error *err)
{
    const struct ap_template *tpl;
    struct ap_message chat[] = {{"user", NULL}, {"assistant", NULL}};
    ap_status status = cli_get_text(in, "prompt", true, &chat[0].content, NULL, err);
    if (status == AP_OK)
        status = cli_get_text(in, "response", true, &chat[1].content, NULL, err);
    if (status == AP_OK)
        status = ap_engine_template(e, &tpl, err);
    if (status != AP_OK)
        return status;
    if (ap_engine_is_classifier(e))
        return ap_template_render(tpl, chat, 2, false, NULL, NULL, &r->ids, err);
    status = ap_template_render(tpl, chat, 1, true, NULL, NULL, &r->ids, err);
    r->first = r->ids.n;
    return status == AP_OK ? ap_template_answer(tpl, chat[1].content, &r->ids, err) : status;
}

static ap_status read_record(const struct ap_engine *e, const json_t *in, struct record *r,
                             struct ap_error *err)
{
    static const char *const keys[] = {"ids", "text", "prompt"};
    const char *text = NULL;
    size_t which = 0, n = 0;
    r->first = 1;
    ap_status status = cli_one_of(in, keys, 3, &which, err);
    if (status != AP_OK)
        return status;
    if (which == 0)
        return cli_get_ids(in, "ids", &r->ids, err);
    if (which == 2)
        return encode_answer(e, in, r, err);
    status = cli_get_text(in, "text", true, &text, &n, err);
    return status == AP_OK ? cli_encode(e, text, n, &r->ids, err) : status;
}

/* *logp: those of ids[first …], *n of them, allocated (free). */
static ap_status score_tokens(struct ap_engine *e, const struct record *r, double **logp, size_t *n,
                              struct ap_error *err)
{
    *n = r->ids.n > r->first ? r->ids.n - r->first : 0;
    *logp = calloc(r->ids.n ? r->ids.n : 1, sizeof(**logp));
    if (!*logp)
        return cli_error(err, AP_MEMORY, "no memory for %zu log-probabilities", r->ids.n);
    ap_status status = ap_engine_score(e, r->ids.data, r->ids.n, *logp, err);
    if (status == AP_OK && r->first > 1)
        memmove(*logp, *logp + r->first - 1, *n * sizeof(**logp));
    return status;
}

static double sum_of(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

static json_t *reals_json(const double *x, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, json_real(x[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static ap_status put_tokens(struct ap_engine *e, const struct record *r, json_t *out,
                            struct ap_error *err)
{
    double *logp = NULL;
    size_t n;
    ap_status status = score_tokens(e, r, &logp, &n, err);
    if (status == AP_OK)
        status = cli_put(out, "logprobs", reals_json(logp, n), err);
    if (status == AP_OK)
        status = cli_put(out, "sum", json_real(sum_of(logp, n)), err);
    if (status == AP_OK)
        status = cli_put(out, "tokens", json_integer((json_int_t)n), err);
    free(logp);
    return status;
}

static ap_status put_score(struct ap_engine *e, const struct record *r, json_t *out,
                           struct ap_error *err)
{
    double score;
    ap_status status = ap_engine_classify(e, r->ids.data, r->ids.n, &score, err);
    return status == AP_OK ? cli_put(out, "score", json_real(score), err) : status;
}

static ap_status score_line(void *context, const json_t *in, json_t *out, struct ap_error *err)
{
    struct ap_engine *e = context;
    struct record r = {0};
    ap_status status = read_record(e, in, &r, err);
    if (status == AP_OK)
        status =
            ap_engine_is_classifier(e) ? put_score(e, &r, out, err) : put_tokens(e, &r, out, err);
    ap_ids_free(&r.ids);
    return status;
}

static int score_argument(struct ap_engine *e, const char *text)
{
    struct ap_error err = {0};
    struct record r = {.first = 1};
    double *logp = NULL, score;
    size_t n;
    ap_status status = cli_encode(e, text, strlen(text), &r.ids, &err);
    if (status == AP_OK && ap_engine_is_classifier(e)) {
        status = ap_engine_classify(e, r.ids.data, r.ids.n, &score, &err);
        if (status == AP_OK)
            printf("%.9g\n", score);
    } else if (status == AP_OK) {
        status = score_tokens(e, &r, &logp, &n, &err);
        if (status == AP_OK)
            printf("%.9g nats over %zu tokens\n", sum_of(logp, n), n);
    }
    free(logp);
    ap_ids_free(&r.ids);
    return status == AP_OK ? cli_finish(CLI_OK) : cli_fail(&err);
}

int cli_score(int argc, char **argv)
{
    static const struct option options[] = {CLI_MODEL_OPTIONS, {NULL, 0, NULL, 0}};
    struct ap_engine_options chosen = {0};
    struct ap_engine *e;
    struct ap_error err = {0};
    int option;
    optind = 0;
    while ((option = cli_next_option(argc, argv, options)) != -1) {
        if (option == 'h')
            return help();
        if (cli_model_option(&chosen, "score", option, argv) != CLI_OK)
            return CLI_USAGE;
    }
    if (!chosen.model)
        return cli_usage_error("score", "--model is missing, expected a folder");
    if (argc - optind > 1)
        return cli_usage_error("score", "%d texts, expected one; put it in quotes", argc - optind);
    if (ap_engine_open(&e, &chosen, &err) != AP_OK)
        return cli_fail(&err);
    int code = optind < argc ? score_argument(e, argv[optind]) : cli_lines(score_line, e);
    ap_engine_close(e);
    return code;
}
