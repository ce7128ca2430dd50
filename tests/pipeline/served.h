/* A tiny run with two prompters and a reward, and works for the engine that serves it. */
#ifndef AP_TESTS_PIPELINE_SERVED_H
#define AP_TESTS_PIPELINE_SERVED_H

#include "program.h"

#include "base/clock.h"
#include "pipeline/rewriting.h"
#include "pipeline/serve_engine.h"

#include <semaphore.h>

#define SERVED_RUN "run-served"

static const char served_prompters[] =
    "\n"
    "  - {model: target, adapter: {rank: 4}, meta_prompt: \"{prompt}\", max_new_tokens: 8}\n"
    "  - {model: target, adapter: {rank: 4}, meta_prompt: \"on: {prompt}\", max_new_tokens: 6}";

/* The demo's tokenizer, whose end token is spelt as in other families. */
static inline void put_tokenizer(const char *folder)
{
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json"};
    for (size_t i = 0; i < AP_LEN(files); i++) {
        char path[600];
        struct ap_buffer out = {0};
        struct ap_error err;
        snprintf(path, sizeof(path), "%s/examples/demo/%s", AP_SOURCE_DIR, files[i]);
        struct ap_buffer in = get_file(path);
        for (const char *at = in.data, *hit; at; at = hit ? hit + strlen("</s>") : NULL) {
            hit = strstr(at, "</s>");
            check_ok(ap_buffer_append(&out, at, hit ? (size_t)(hit - at) : strlen(at), &err), err);
            if (hit)
                check_ok(ap_buffer_puts(&out, "<|im_end|>", &err), err);
        }
        put_text(folder, files[i], out.data);
        ap_buffer_free(&in);
        ap_buffer_free(&out);
    }
}

/* FOLDER/DIR, a run with that reward. */
static inline void served_run(const char *folder, const char *dir, const char *reward)
{
    struct program p = {0};
    char tokenizer[600], run_dir[600];
    struct tiny_recipe r = tiny_recipe_default;
    r.prompter = served_prompters;
    r.reward = reward;
    r.arms = "bare, align";
    r.steps = 2;
    put_recipe(folder, "recipe.yaml", &r);
    put_tokenizer(folder);
    snprintf(tokenizer, sizeof(tokenizer), "models.target.tokenizer=%s", folder);
    snprintf(run_dir, sizeof(run_dir), "run.dir=%s", dir);
    program_must(&p, folder, "run", in_folder(folder, "recipe.yaml"), "--set", tokenizer, "--set",
                 run_dir, "--set", "eval.seeds=1");
}

static inline int served_setup(void **state)
{
    if (program_setup(state) != 0)
        return -1;
    served_run(*state, SERVED_RUN,
               "model: target, adapter: {rank: 4}, kind: implicit"); /* it asks whether y ended */
    return 0;
}

static inline struct ap_serve_engine_options served_options(const char *folder)
{
    return (struct ap_serve_engine_options){.run_dir = in_folder(folder, SERVED_RUN),
                                            .threads = 1,
                                            .local_target = true,
                                            .with_reward = true,
                                            .queue = 64,
                                            .batch = 4};
}

static inline struct ap_serve_engine *served_open(const struct ap_serve_engine_options *options)
{
    struct ap_error err;
    struct ap_serve_engine *e;
    check_ok(ap_serve_engine_open(&e, options, &err), err);
    return e;
}

/* -- works -- */

struct asked {
    struct ap_work work;
    struct ap_message message; /* of a conversation of one */
    sem_t over;
    int n_done;
    int order;                     /* when it was done: 1 for the first of all */
    void (*then)(struct asked *a); /* on the engine's thread; NULL: nothing */
    void *context;
    atomic_int *clock;      /* counts what is done; NULL: nobody does */
    struct ap_buffer grown; /* what came of the text, in n_grown pieces */
    int n_grown;
};

/* For work.grew. */
static inline void asked_grew(struct ap_work *w, const char *text, size_t n)
{
    struct asked *a = w->context;
    struct ap_error err;
    assert_true(n > 0 && a->n_done == 0);
    assert_true((text[0] & 0xC0) != 0x80); /* whole characters */
    check_ok(ap_buffer_append(&a->grown, text, n, &err), err);
    a->n_grown++;
}

static inline void asked_done(struct ap_work *w)
{
    struct asked *a = w->context;
    a->n_done++;
    a->order = a->clock ? atomic_fetch_add(a->clock, 1) + 1 : 0;
    if (a->then)
        a->then(a);
    sem_post(&a->over);
}

static inline void asked_init(struct asked *a, ap_work_kind kind, const char *x)
{
    *a = (struct asked){.message = {"user", x},
                        .work = {.kind = kind,
                                 .messages = &a->message,
                                 .n_message = 1,
                                 .top_p = 1,
                                 .done = asked_done,
                                 .context = a}};
    sem_init(&a->over, 0, 0);
}

static inline void asked_submit(struct ap_serve_engine *e, struct asked *a)
{
    assert_true(e->submit(e->self, &a->work));
}

static inline void asked_wait(struct asked *a)
{
    while (sem_wait(&a->over) != 0)
        ;
    assert_int_equal(a->n_done, 1);
}

static inline void asked_go(struct ap_serve_engine *e, struct asked *a)
{
    asked_submit(e, a);
    asked_wait(a);
}

static inline void asked_free(struct asked *a)
{
    ap_free(a->work.text);
    ap_free(a->work.logp);
    ap_buffer_free(&a->grown);
    sem_destroy(&a->over);
}

static inline void check_end(const struct asked *a, ap_work_end end, const char *why)
{
    if (a->work.end != end)
        fprintf(stderr, "it ended as %d: %s\n", (int)a->work.end, a->work.why);
    assert_int_equal(a->work.end, end);
    assert_int_equal(a->work.text != NULL, end == AP_WORK_DONE && a->work.kind != AP_WORK_SCORE);
    check_holds(a->work.why, why);
}

/* The engine's thread stands still from `hold` until `release`: what is asked for in between is
 * there at once. */
struct held {
    struct asked asked;
    sem_t holds, goes;
};

static inline void hold_then(struct asked *a)
{
    struct held *h = a->context;
    sem_post(&h->holds);
    while (sem_wait(&h->goes) != 0)
        ;
}

static inline void hold_engine(struct ap_serve_engine *e, struct held *h)
{
    asked_init(&h->asked, AP_WORK_REWRITE, " "); /* over before it begins */
    sem_init(&h->holds, 0, 0);
    sem_init(&h->goes, 0, 0);
    h->asked.then = hold_then;
    h->asked.context = h;
    asked_submit(e, &h->asked);
    while (sem_wait(&h->holds) != 0)
        ;
}

static inline void release_engine(struct held *h)
{
    sem_post(&h->goes);
    asked_wait(&h->asked);
    check_end(&h->asked, AP_WORK_FAILED, "white space");
    asked_free(&h->asked);
    sem_destroy(&h->holds);
    sem_destroy(&h->goes);
}

#endif
