/* A target over HTTP before the fault server, with ledger and settings, for tests. */
#ifndef AP_TESTS_ALIGN_FAR_TARGET_H
#define AP_TESTS_ALIGN_FAR_TARGET_H

#include "align/target_http.h"

#include "base/scratch.h"
#include "net/fault_server.h"

#define FAR_PROMPT 64

struct far_target {
    struct ap_target_settings settings;
    struct ap_ledger *ledger;
    struct ap_remote *remote;
    struct ap_target target;
    char *urls[4];
    struct ap_sink sink;
};

/* Settings that a test may change before far_open. */
static inline void far_init(struct far_target *f)
{
    *f = (struct far_target){.settings = {.kind = (char *)"http",
                                          .model = (char *)"m",
                                          .timeout = 20,
                                          .api = (char *)"chat",
                                          .name = (char *)"target-1",
                                          .together = 1,
                                          .refusal = (char *)"-1",
                                          .max_new_tokens = 16,
                                          .temperature = 1,
                                          .top_p = 1,
                                          .logprobs = true}};
    f->settings.http.key_env = f->settings.http.key_file = (char *)"";
    f->settings.http.concurrency = 8;
    f->settings.http.retries = 100;
}

static inline ap_status far_try_open(struct far_target *f, struct fault_server *const *servers,
                                     int n, const char *ledger, const char *run,
                                     struct ap_error *err)
{
    ap_status status;
    for (int i = 0; i < n; i++)
        f->settings.http.url[i] = (char *)fault_server_url(servers[i]);
    f->settings.http.n_url = n;
    AP_TRY(ap_ledger_open(&f->ledger, ledger, run, err));
    const struct ap_remote_options options = {.who = "target",
                                              .http = &f->settings.http,
                                              .timeout = f->settings.timeout,
                                              .ledger = f->ledger,
                                              .sink = &f->sink,
                                              .backoff = 1e-5};
    AP_TRY(ap_remote_open(&f->remote, &options, err));
    AP_TRY(ap_target_http(&f->target, f->remote, &f->settings, err));
out:
    return status;
}

static inline void far_open(struct far_target *f, struct fault_server *server, const char *ledger,
                            const char *run)
{
    struct ap_error err;
    check_ok(far_try_open(f, &server, 1, ledger, run, &err), err);
}

static inline void far_close(struct far_target *f)
{
    ap_target_free(&f->target);
    ap_remote_close(f->remote);
    ap_ledger_close(f->ledger);
}

/* Request i of a run: its own prompt and its own record. */
static inline struct ap_target_request far_request(int i, char prompt[FAR_PROMPT])
{
    snprintf(prompt, FAR_PROMPT, "question %d: ä?", i);
    return (struct ap_target_request){
        .prompt = prompt, .stream = {.seed = 7, .stage = 3, .step = 1, .record = (uint64_t)i}};
}

/* What the server answers to it; `first` is the sample whose seed the request had. */
static inline void far_expected(int i, int sample, int first, bool completions,
                                char out[FAULT_TEXT])
{
    char prompt[FAR_PROMPT];
    struct ap_stream stream = far_request(i, prompt).stream;
    stream.sample += (uint32_t)first;
    json_t *asked = completions ? json_string(prompt)
                                : json_pack("[{s:s, s:s}]", "role", "user", "content", prompt);
    assert_non_null(asked);
    fault_text(asked, (int64_t)ap_stream_seed(&stream), sample - first, out);
    json_decref(asked);
}

/* Asks for requests first … first + n − 1 and looks at every answer; false: an error. */
static inline ap_status far_ask(struct far_target *f, int first, int n, int n_samples,
                                struct ap_error *err)
{
    struct ap_target_request *requests = ap_calloc((size_t)n, sizeof(*requests));
    char(*prompts)[FAR_PROMPT] = ap_calloc((size_t)n, sizeof(*prompts));
    struct ap_answer *out = ap_calloc((size_t)n * (size_t)n_samples, sizeof(*out));
    bool completions = strcmp(f->settings.api, "completions") == 0;
    int together = f->settings.together;
    assert_true(requests && prompts && out);
    for (int i = 0; i < n; i++)
        requests[i] = far_request(first + i, prompts[i]);
    ap_status status = f->target.answer(f->target.self, requests, n, n_samples, out, err);
    for (int i = 0; i < n * n_samples && status == AP_OK; i++) {
        char expected[FAULT_TEXT];
        int sample = i % n_samples;
        far_expected(first + i / n_samples, sample, sample - sample % together, completions,
                     expected);
        assert_string_equal(out[i].text, expected);
        assert_true(out[i].ended && !out[i].scored);
        assert_int_equal(out[i].n_token, FAULT_COMPLETION_TOKENS);
    }
    ap_answers_free(out, (size_t)n * (size_t)n_samples);
    ap_free(out);
    ap_free(prompts);
    ap_free(requests);
    return status;
}

static inline struct ap_ledger_sums far_sums(struct far_target *f)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    check_ok(ap_ledger_sum(f->ledger, "target", &sums, &err), err);
    return sums;
}

/* No key was bought more often than its answer and what was lost of it come to. */
static inline void far_check_bought(struct far_target *f, struct fault_server *s, int64_t n_post,
                                    int per_post)
{
    struct fault_counts counts;
    struct ap_ledger_sums sums = far_sums(f);
    fault_server_counts(s, &counts);
    assert_int_equal(sums.n_key, n_post * per_post);
    assert_int_equal(sums.n_answer, n_post * per_post);
    assert_int_equal(counts.n_key, n_post);
    assert_true((counts.n_bought - n_post) * per_post <= sums.n_lost + sums.n_unknown);
    assert_int_equal(counts.n_unnamed, 0);
}

#endif
