/* Recipes that are right: values, defaults, what follows from others, --set, paths, the resolved
 * text and help. */
#include "store_recipes.h"

#include <sys/stat.h>

static struct ap_recipe *must_parse(const char *text, const char *const *overrides, size_t n)
{
    struct ap_error err;
    struct ap_recipe *recipe;
    check_ok(parse(&recipe, text, overrides, n, &err), err);
    return recipe;
}

static void the_designs_recipe(void **state)
{
    (void)state;
    struct ap_recipe *recipe = must_parse(RECIPE_FULL, NULL, 0);
    const struct ap_settings *s = ap_recipe_settings(recipe);
    assert_int_equal(s->n_models, 2);
    assert_string_equal(s->models[0].name, "small");
    assert_string_equal(s->models[0].path, "/base/models/prompter");
    assert_string_equal(s->models[1].path, "/abs/target");
    assert_string_equal(s->prompter.model, "small");
    assert_int_equal(s->prompter.adapter.rank, 16);
    check_near(s->prompter.adapter.alpha, 32, 0, 0);
    assert_string_equal(s->prompter.adapter.targets, "all-linear");
    assert_int_equal(s->target.max_new_tokens, 256);
    assert_string_equal(s->data.path, "/base/helpsteer.jsonl");
    check_near(s->data.bad_lines, 0.01, 0, 1e-15);
    assert_string_equal(s->sft.source, "best-of-n");
    check_near(s->sft.optimiser.lr, 2e-4, 0, 0);
    check_near(s->align.kl, 0.03, 0, 0);
    assert_int_equal(s->eval.n_arms, 5);
    assert_string_equal(s->eval.arms[4], "rlhf");
    assert_int_equal(s->eval.n_seeds, 3);
    assert_int_equal(s->eval.seeds[2], 3);
    assert_string_equal(s->date, "26 Jul 2024");
    assert_string_equal(s->run.dir, "/base/runs/helpsteer");
    assert_int_equal(s->run.context, 0);
    assert_int_equal(s->run.threads, 2);
    ap_recipe_close(recipe);
}

static void defaults(void **state)
{
    (void)state;
    struct ap_recipe *recipe = must_parse(RECIPE_SMALL, NULL, 0);
    const struct ap_settings *s = ap_recipe_settings(recipe);
    check_near(s->align.kl, 0.05, 0, 0);
    assert_int_equal(s->align.rewrites, 4);
    assert_int_equal(s->align.answers, 2);
    assert_int_equal(s->align.prompts, 32);
    assert_int_equal(s->align.steps, 300);
    assert_int_equal(s->align.epochs, 1);
    check_near(s->align.clip, 0.2, 0, 0);
    check_near(s->align.value_clip, 0.2, 0, 0);
    check_near(s->align.value_weight, 0.1, 0, 0);
    check_near(s->align.gae_lambda, 0.95, 0, 0);
    check_near(s->align.missing_end_penalty, 1, 0, 0);
    check_near(s->align.value_lr, 1e-4, 0, 0);
    check_near(s->align.optimiser.beta2, 0.95, 0, 0);
    check_near(s->align.optimiser.eps, 1e-8, 0, 0);
    check_near(s->align.optimiser.clip, 1, 0, 0);
    assert_int_equal(s->align.optimiser.batch_tokens, 4096);
    assert_string_equal(s->reward.kind, "classifier");
    assert_true(s->reward.normalise);
    check_near(s->reward.beta, 0.2, 0, 0);
    check_near(s->reward.floor, 0.002, 0, 0);
    assert_int_equal(s->prompter.adapter.rank, 0);
    assert_int_equal(s->eval.n_arms, 3);
    assert_string_equal(s->eval.arms[2], "align");
    assert_int_equal(s->eval.bootstrap, 2000);
    assert_string_equal(s->sft.source, "none");
    check_near(s->data.train + s->data.valid + s->data.test, 1, 1e-12, 0);
    assert_string_equal(s->date, "26 Jul 2024");
    assert_false(s->has_rlhf);
    assert_false(ap_recipe_has(recipe, "align"));
    assert_true(ap_recipe_has(recipe, "run"));
    ap_recipe_close(recipe);
}

static void values_that_follow(void **state)
{
    (void)state;
    struct ap_recipe *recipe = must_parse(RECIPE_FULL, NULL, 0);
    const struct ap_settings *s = ap_recipe_settings(recipe);
    assert_true(s->has_rlhf);
    check_near(s->rlhf.kl, 0.03, 0, 0); /* from align */
    assert_int_equal(s->rlhf.steps, 200);
    assert_int_equal(s->rlhf.epochs, 1); /* from align, where it is given */
    ap_recipe_close(recipe);

    const char *const set[] = {"align.epochs=auto", "align.lr=0.003", "prompter.adapter.alpha=auto",
                               "prompter.adapter.rank=3"};
    recipe = must_parse(RECIPE_FULL, set, 4);
    s = ap_recipe_settings(recipe);
    assert_int_equal(s->align.epochs, 1);
    assert_int_equal(s->rlhf.epochs, 4); /* ppo */
    check_near(s->rlhf.value_lr, 0.003, 0, 0);
    check_near(s->prompter.adapter.alpha, 6, 0, 0);
    ap_recipe_close(recipe);

    recipe = must_parse("reward: {rule: regex, pattern: 'a\\d'}\nrun: {dir: o}\n"
                        "models: {m: {config: c.json}}\nprompter: {model: m, adapter: none}\n",
                        NULL, 0);
    s = ap_recipe_settings(recipe);
    assert_string_equal(s->reward.kind, "rule");
    assert_false(s->reward.normalise);
    assert_string_equal(s->reward.pattern, "a\\d");
    assert_string_equal(s->models[0].init, "random");
    assert_int_equal(s->prompter.adapter.rank, 0);
    ap_recipe_close(recipe);
}

static void overrides(void **state)
{
    (void)state;
    const char *const set[] = {"align.kl=0.02",
                               "eval.seeds=[4, 5]",
                               "eval.arms=bare,align",
                               "text.date=1 May 2020",
                               "prompter.adapter=none",
                               "prompter.meta_prompt=Say: {prompt} # x",
                               "data.bad_lines=2.5%",
                               "models.third.path=/m/third",
                               "target.stop=[\"\\n\\n\", 'END']",
                               "eval.noise=0,5%,0.1",
                               "guard.protect=url,number",
                               "reward.normalise=false"};
    struct ap_recipe *recipe = must_parse(RECIPE_FULL, set, AP_LEN(set));
    const struct ap_settings *s = ap_recipe_settings(recipe);
    check_near(s->align.kl, 0.02, 0, 0);
    check_near(s->rlhf.kl, 0.02, 0, 0);
    assert_int_equal(s->eval.n_seeds, 2);
    assert_int_equal(s->eval.seeds[1], 5);
    assert_int_equal(s->eval.n_noise, 3);
    check_near(s->eval.noise[1], 0.05, 0, 1e-15);
    check_near(s->eval.noise[2], 0.1, 0, 0);
    assert_int_equal(s->guard.n_protect, 2);
    assert_string_equal(s->guard.protect[1], "number");
    assert_int_equal(s->eval.n_arms, 2);
    assert_string_equal(s->eval.arms[1], "align");
    assert_string_equal(s->date, "1 May 2020");
    assert_int_equal(s->prompter.adapter.rank, 0);
    assert_string_equal(s->prompter.meta_prompt, "Say: {prompt} # x");
    check_near(s->data.bad_lines, 0.025, 0, 1e-15);
    assert_int_equal(s->n_models, 3);
    assert_string_equal(s->models[2].path, "/m/third");
    assert_int_equal(s->target.n_stop, 2);
    assert_string_equal(s->target.stop[0], "\n\n");
    assert_string_equal(s->target.stop[1], "END");
    assert_false(s->reward.normalise);
    ap_recipe_close(recipe);
}

/* One text is a shell line, commas and all; a list is a program and its arguments. */
static void commands(void **state)
{
    (void)state;
    const char *const set[] = {"reward.command=awk '{print 1, 2}' \"$HOME\""};
    static const char text[] = "run: {dir: o}\nreward: {command: [./score, 'two words'], "
                               "timeout: 0.5}\n";
    struct ap_recipe *recipe = must_parse(text, NULL, 0), *other = must_parse(text, set, 1);
    const struct ap_reward_settings *r = &ap_recipe_settings(recipe)->reward;
    assert_string_equal(r->kind, "command");
    assert_int_equal(r->n_command, 2);
    assert_string_equal(r->command[1], "two words");
    assert_string_equal(r->folder, "/base");
    check_near(r->timeout, 0.5, 0, 0);
    assert_false(r->normalise);
    r = &ap_recipe_settings(other)->reward;
    assert_int_equal(r->n_command, 1);
    assert_string_equal(r->command[0], set[0] + strlen("reward.command="));
    assert_true(ap_recipe_fingerprint(recipe) != ap_recipe_fingerprint(other));
    ap_recipe_close(other);
    const char *const harmless[] = {"reward.timeout=7", "reward.folder=/else"};
    other = must_parse(text, harmless, 2);
    assert_string_equal(ap_recipe_settings(other)->reward.folder, "/else");
    assert_true(ap_recipe_fingerprint(recipe) == ap_recipe_fingerprint(other));
    ap_recipe_close(other);
    ap_recipe_close(recipe);
}

#define REWARDS                                                                                    \
    "models: {m: {path: m}}\ndata: {path: d}\nrewards:\n"                                          \
    "  taught: {model: m, adapter: {rank: 4}, weight: 0.5}\n"                                      \
    "  short:\n    rule: length\n    length: 9\n    normalise: true\n"                             \
    "  own: {command: [./x, 'a b'], weight: -1}\nrun: {dir: o}\n"

static void several_rewards(void **state)
{
    (void)state;
    int n;
    const char *const set[] = {"rewards.taught.adapter=none",
                               "rewards.more.rule=match",
                               "rewards.more.pattern=x, y",
                               "rewards.own.weight=2",
                               "eval.judges=reward,more",
                               "prompter.model=m",
                               "target.model=m"};
    struct ap_recipe *recipe = must_parse(REWARDS, NULL, 0);
    const struct ap_reward_settings *r = ap_settings_rewards(ap_recipe_settings(recipe), &n);
    assert_int_equal(n, 3);
    assert_true(ap_recipe_has_reward(recipe) && !ap_recipe_has(recipe, "reward"));
    assert_string_equal(r[0].name, "taught");
    assert_string_equal(r[0].kind, "classifier");
    assert_int_equal(r[0].adapter.rank, 4);
    check_near(r[0].adapter.alpha, 8, 0, 0);
    assert_true(r[0].normalise && r[1].normalise && !r[2].normalise);
    assert_true(ap_reward_is_trained(&r[0]) && !ap_reward_is_trained(&r[1]));
    check_near(r[1].length, 9, 0, 0);
    check_near(r[1].weight, 1, 0, 0);
    assert_string_equal(r[2].folder, "/base");
    check_near(r[2].weight, -1, 0, 0);
    ap_recipe_close(recipe);

    recipe = must_parse(REWARDS, set, AP_LEN(set));
    r = ap_settings_rewards(ap_recipe_settings(recipe), &n);
    assert_int_equal(n, 4);
    assert_int_equal(r[0].adapter.rank, 0);
    check_near(r[2].weight, 2, 0, 0);
    assert_string_equal(r[3].name, "more");
    assert_string_equal(r[3].pattern, "x, y");
    ap_recipe_close(recipe);

    recipe = must_parse(RECIPE_FULL, NULL, 0);
    r = ap_settings_rewards(ap_recipe_settings(recipe), &n);
    assert_true(n == 1 && !r[0].name && r == &ap_recipe_settings(recipe)->reward);
    ap_recipe_close(recipe);
}

static void check_difference(const struct ap_recipe *a, const struct ap_recipe *b,
                             ap_difference_kind kind, const char *want)
{
    struct ap_error err = {0};
    struct ap_buffer text = {0};
    check_ok(ap_recipe_differences(a, b, kind, &text, &err), err);
    assert_string_equal(text.data, want);
    ap_buffer_free(&text);
}

/* Seeds apart from all else; of a path the name alone, of a tokenizer nothing. */
static void differences_by_kind(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_buffer text = {0};
    const char *const seed[] = {"run.seed=7"},
                      *const moved[] = {"data.path=/else/where/pairs.jsonl",
                                        "models.m.tokenizer=/else/tokens"},
                      *const other[] = {"data.path=/else/where/others.jsonl", "run.seed=7"};
    const char *recipe = "run: {dir: o, seed: 5}\ndata: {path: /here/pairs.jsonl}\n"
                         "models: {m: {path: x}}\n";
    struct ap_recipe *a = must_parse(recipe, NULL, 0), *b = must_parse(recipe, seed, 1),
                     *c = must_parse(recipe, moved, 2), *d = must_parse(recipe, other, 2);
    check_difference(a, b, AP_DIFFER_SEEDS, "run.seed is 5 there and 7 here");
    check_difference(a, b, AP_DIFFER_OTHERS, "");
    check_difference(a, c, AP_DIFFER_SEEDS, "");
    check_difference(a, c, AP_DIFFER_OTHERS, "");
    check_difference(a, d, AP_DIFFER_OTHERS,
                     "data.path is \"/here/pairs.jsonl\" there and \"/else/where/others.jsonl\" "
                     "here");
    check_ok(ap_recipe_seeds(b, &text, &err), err);
    assert_string_equal(text.data, "run.seed 7");
    ap_buffer_free(&text);
    ap_recipe_close(a);
    ap_recipe_close(b);
    ap_recipe_close(c);
    ap_recipe_close(d);
}

/* What a run keeps can be read again: rlhf without validations has nothing of align's that only
 * they give a meaning; a leash of the bound may be as light as align's. */
static void what_is_kept_reads_back(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_buffer text = {0};
    struct ap_recipe *a, *b;
    a = must_parse("run: {dir: o}\ndata: {path: p}\nmodels: {m: {path: x}}\n"
                   "prompter: {model: m}\ntarget: {model: m}\nreward: {rule: length, length: 9}\n"
                   "align: {kl: 1e-10, valid_every: 10, patience: 3, valid_judge: reward, "
                   "keep: best, valid_path: v}\n"
                   "rlhf: {valid_every: 0}\nbound: {}\n",
                   NULL, 0);
    assert_int_equal(ap_recipe_settings(a)->rlhf.patience, 0);
    assert_string_equal(ap_recipe_settings(a)->rlhf.keep, "last");
    assert_string_equal(ap_recipe_settings(a)->rlhf.valid_path, "");
    check_ok(ap_recipe_resolved(a, &text, &err), err);
    check_ok(parse(&b, text.data, NULL, 0, &err), err);
    assert_true(ap_recipe_fingerprint(a) == ap_recipe_fingerprint(b));
    ap_buffer_free(&text);
    ap_recipe_close(a);
    ap_recipe_close(b);
}

/* Left out they follow from other keys, and they change nothing that is trained. */
static void labels(void **state)
{
    (void)state;
    const char *recipe = "run: {dir: o}\ndata: {path: /here/HelpSteer.v2.jsonl.gz}\n";
    const char *const set[] = {"label.data=Help Steer"};
    struct ap_recipe *a = must_parse(recipe, NULL, 0), *b = must_parse(recipe, set, 1);
    assert_string_equal(ap_recipe_settings(a)->label.data, "HelpSteer");
    assert_string_equal(ap_recipe_settings(a)->label.target, "");
    assert_string_equal(ap_recipe_settings(b)->label.data, "Help Steer");
    assert_true(ap_recipe_fingerprint(a) == ap_recipe_fingerprint(b));
    ap_recipe_close(a);
    ap_recipe_close(b);
}

static void long_names_make_short_labels(void **state)
{
    (void)state;
    char recipe[400], name[130] = "";
    for (int i = 0; i < 40; i++)
        strcat(name, "\u00e4x"); /* three bytes */
    snprintf(recipe, sizeof(recipe), "run: {dir: o}\ndata: {path: /here/%s.jsonl}\n", name);
    struct ap_recipe *a = must_parse(recipe, NULL, 0);
    const char *label = ap_recipe_settings(a)->label.data;
    assert_int_equal(strlen(label), 99); /* 100 would cut a character */
    assert_memory_equal(label, name, 99);
    ap_recipe_close(a);
}

/* The bound is computed of what was trained, and may be had of one seed alone; a judge that
 * compares gives nobody a score. */
static void what_makes_no_other_evaluation(void **state)
{
    (void)state;
    const char *recipe = "run: {dir: o}\ndata: {path: p}\nmodels: {m: {path: x}}\n"
                         "judges: {j: {command: [a, b]}}\n";
    const char *const sets[] = {"bound.rewrites=4", "judges.j.question={a} or {b}",
                                "judges.j.timeout=3"},
                      *const more[] = {"models.z.path=y", "judges.k.model=z"};
    struct ap_recipe *a = must_parse(recipe, NULL, 0), *b = must_parse(recipe, sets, 3),
                     *c = must_parse(recipe, more, 2);
    check_difference(a, b, AP_DIFFER_OTHERS, "");
    check_difference(a, b, AP_DIFFER_ANY, "");
    check_difference(a, c, AP_DIFFER_OTHERS, "");
    ap_recipe_close(a);
    ap_recipe_close(b);
    ap_recipe_close(c);
}

#define PROMPTERS                                                                                  \
    "models: {m: {path: m}, k: {path: k}}\nrun: {dir: o}\n"                                        \
    "target: {model: m}\nreward: {rule: length, length: 9}\ndata: {path: d}\nprompter:\n"          \
    "  - {model: m, adapter: {rank: 4}, max_new_tokens: 10}\n"                                     \
    "  - model: k\n"                                                                               \
    "    adapter: none\n"                                                                          \
    "    temperature: 0.5\n"

/* The resolved text is a recipe of the same fingerprint; the first of a list stands in the place of
 * the one. */
static void a_list_of_prompters(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_recipe *recipe, *again;
    struct ap_buffer text = {0};
    const char *const set[] = {"prompter.2.adapter.rank=8", "prompter.1.max_new_tokens=12",
                               "prompter.3.model=m", "align.prompters=joint"};
    int n;
    check_ok(parse(&recipe, PROMPTERS, NULL, 0, &err), err);
    const struct ap_settings *s = ap_recipe_settings(recipe);
    const struct ap_prompter_settings *p = ap_settings_prompters(s, &n);
    assert_int_equal(n, 2);
    assert_false(ap_settings_joint(s));
    assert_string_equal(p[0].model, "m");
    assert_int_equal(p[0].max_new_tokens, 10);
    check_near(p[0].adapter.alpha, 8, 0, 0);
    assert_string_equal(p[1].model, "k");
    assert_int_equal(p[1].max_new_tokens, 96);
    assert_int_equal(p[1].adapter.rank, 0);
    check_near(p[1].temperature, 0.5, 0, 0);
    assert_string_equal(s->prompter.model, "m");
    assert_int_equal(s->prompter.adapter.rank, 4);
    assert_int_equal(s->eval.n_arms, 4); /* every pass, where nobody said what */
    assert_string_equal(s->eval.arms[2], "align-1");
    assert_string_equal(s->eval.arms[3], "align");
    check_ok(ap_recipe_resolved(recipe, &text, &err), err);
    check_ok(parse(&again, text.data, NULL, 0, &err), err);
    assert_true(ap_recipe_fingerprint(again) == ap_recipe_fingerprint(recipe));
    ap_buffer_clear(&text);
    check_ok(ap_recipe_differences(recipe, again, AP_DIFFER_ANY, &text, &err), err);
    assert_string_equal(text.data, "");
    ap_recipe_close(again);
    check_ok(parse(&again, PROMPTERS, set, 4, &err), err);
    p = ap_settings_prompters(ap_recipe_settings(again), &n);
    assert_int_equal(n, 3);
    assert_true(ap_settings_joint(ap_recipe_settings(again)));
    assert_int_equal(p[0].max_new_tokens, 12);
    assert_int_equal(p[1].adapter.rank, 8);
    assert_string_equal(p[2].model, "m");
    ap_buffer_clear(&text);
    check_ok(ap_recipe_differences(recipe, again, AP_DIFFER_ANY, &text, &err), err);
    check_holds(text.data, "prompter is absent there and 3 here");
    check_holds(text.data, "prompter.1.max_new_tokens is 10 there and 12 here");
    check_holds(text.data, "prompter.2.adapter.rank is 0 there and 8 here");
    assert_true(ap_recipe_fingerprint(again) != ap_recipe_fingerprint(recipe));
    ap_recipe_close(again);
    ap_recipe_close(recipe);
    ap_buffer_free(&text);
}

/* What differs is named in full; the order of names is no difference. */
static void several_rewards_differ(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_buffer text = {0};
    const char *const set[] = {"rewards.taught.adapter.rank=8", "rewards.own.weight=3",
                               "rewards.new.rule=match", "rewards.new.pattern=y"};
    struct ap_recipe *a = must_parse(REWARDS, NULL, 0), *b = must_parse(REWARDS, set, AP_LEN(set));
    assert_true(ap_recipe_fingerprint(a) != ap_recipe_fingerprint(b));
    check_ok(ap_recipe_differences(a, b, AP_DIFFER_ANY, &text, &err), err);
    check_holds(text.data, "rewards is absent there and new here");
    check_holds(text.data, "rewards.taught.adapter.rank is 4 there and 8 here");
    check_holds(text.data, "rewards.own.weight is -1 there and 3 here");
    ap_recipe_close(b);
    static const char *const orders[] = {
        "run: {dir: o}\nrewards: {a: {rule: match, pattern: x}, b: {rule: length, length: 2}}\n",
        "run: {dir: o}\nrewards: {b: {rule: length, length: 2}, a: {rule: match, pattern: x}}\n"};
    ap_recipe_close(a);
    a = must_parse(orders[0], NULL, 0);
    b = must_parse(orders[1], NULL, 0);
    assert_true(ap_recipe_fingerprint(a) == ap_recipe_fingerprint(b));
    ap_buffer_clear(&text);
    check_ok(ap_recipe_differences(a, b, AP_DIFFER_ANY, &text, &err), err);
    assert_string_equal(text.data, "");
    ap_recipe_close(a);
    ap_recipe_close(b);
    ap_buffer_free(&text);
}

static void variables_in_paths(void **state)
{
    (void)state;
    setenv("AP_TEST_ROOT", "/data/root", 1);
    unsetenv("AP_TEST_NONE");
    struct ap_recipe *recipe =
        must_parse("run: {dir: '${AP_TEST_ROOT}/runs//'}\n"
                   "data: {path: '${AP_TEST_NONE:-fallback/x}/$${y}.jsonl'}\n"
                   "prompter: {model: m, meta_prompt: '${AP_TEST_NONE}'}\n"
                   "models: {m: {path: 'a ${AP_TEST_NONE:-}b'}}\n",
                   NULL, 0);
    const struct ap_settings *s = ap_recipe_settings(recipe);
    assert_string_equal(s->run.dir, "/data/root/runs");
    assert_string_equal(s->data.path, "/base/fallback/x/${y}.jsonl");
    assert_string_equal(s->prompter.meta_prompt, "${AP_TEST_NONE}"); /* no path */
    assert_string_equal(s->models[0].path, "/base/a b");
    ap_recipe_close(recipe);
}

/* ---- resolved text, fingerprint ---- */

static void check_round_trip(const char *text, const char *const *set, size_t n)
{
    struct ap_error err;
    struct ap_buffer first = {0}, second = {0}, differences = {0};
    struct ap_recipe *recipe = must_parse(text, set, n), *again;
    check_ok(ap_recipe_resolved(recipe, &first, &err), err);
    check_ok(
        ap_recipe_parse(&again, first.data, first.len, "recipe.yaml", "/elsewhere", NULL, 0, &err),
        err);
    check_ok(ap_recipe_differences(recipe, again, AP_DIFFER_ANY, &differences, &err), err);
    assert_string_equal(differences.data, "");
    assert_true(ap_recipe_fingerprint(recipe) == ap_recipe_fingerprint(again));
    check_ok(ap_recipe_resolved(again, &second, &err), err);
    ap_recipe_close(recipe);
    ap_recipe_close(again);
    ap_buffer_free(&first);
    ap_buffer_free(&second);
    ap_buffer_free(&differences);
}

static void resolved_reads_back(void **state)
{
    (void)state;
    const char *const odd[] = {"prompter.meta_prompt=a\"b\\c\n\td \x01 \xc2\x85 \xe2\x80\xa8 "
                               "\xef\xbb\xbf \xc3\xa9 \xe2\x80\x94 # no: {x}",
                               "align.lr=0.1234567890123456789",
                               "align.kl=1e-7",
                               "target.stop=[]",
                               "run.dir=$${x}/y z",
                               "reward.trained=",
                               "eval.noise=[0, 1e-3, 0.123456789012345678]",
                               "guard.protect=[]",
                               "data.limit=9007199254740992"};
    check_round_trip(RECIPE_SMALL, NULL, 0);
    check_round_trip(RECIPE_FULL, NULL, 0);
    check_round_trip(RECIPE_FULL, odd, AP_LEN(odd));
    check_round_trip("reward: {rule: length, length: 100.5}\nrun: {dir: o}\n", NULL, 0);
    check_round_trip(REWARDS, NULL, 0);
    check_round_trip("reward: {command: 'a \"b\", c'}\nrun: {dir: o}\n", NULL, 0);
    check_round_trip("reward: {command: [a b, '', \"\\n\"]}\nrun: {dir: o}\n", NULL, 0);
    check_round_trip("models: {m: {config: c.json, init: random}}\nrun: {dir: o}\n"
                     "prompter: {model: m, adapter: {rank: 4, targets: [q_proj, v_proj]}}\n",
                     NULL, 0);
}

static void resolved_says_origins(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_buffer text = {0};
    const char *const set[] = {"align.steps=7"};
    struct ap_recipe *recipe = must_parse(RECIPE_FULL, set, 1);
    check_ok(ap_recipe_resolved(recipe, &text, &err), err);
    check_holds(text.data, "kl: 0.03  # recipe:10\n");
    check_holds(text.data, "steps: 7  # --set\n");
    check_holds(text.data, "kl: 0.03  # from align\n");
    check_holds(text.data, "entropy_weight: 0  # default\n");
    check_holds(text.data, "    path: \"/base/models/prompter\"  # recipe:2\n");
    ap_buffer_free(&text);
    ap_recipe_close(recipe);
}

static uint64_t fingerprint(const char *set)
{
    struct ap_recipe *recipe = must_parse(RECIPE_FULL, &set, set ? 1 : 0);
    uint64_t value = ap_recipe_fingerprint(recipe);
    ap_recipe_close(recipe);
    return value;
}

static void fingerprints(void **state)
{
    (void)state;
    uint64_t plain = fingerprint(NULL);
    assert_true(plain == fingerprint("run.threads=7"));
    assert_true(plain == fingerprint("run.dir=/other"));
    assert_true(plain == fingerprint("run.checkpoint_every=3"));
    assert_true(plain == fingerprint("align.kl=3e-2"));
    assert_true(plain != fingerprint("align.kl=0.04"));
    assert_true(plain != fingerprint("run.seed=2"));
    assert_true(plain != fingerprint("models.small.path=/other"));
    assert_true(plain == fingerprint("eval.seeds=[1, 2]"));
    assert_true(plain == fingerprint("eval.noise=[0.1]"));
    assert_true(plain == fingerprint("guard.similarity=0.5"));
    assert_true(plain != fingerprint("align.noise=5%"));
#define ROLES "target: {model: a}\npretrain: {model: b, path: p}\nrun: {dir: o}\n"
    struct ap_recipe *a = must_parse(ROLES "models: {a: {path: x}, b: {config: y}}", NULL, 0);
    struct ap_recipe *b = must_parse("models: {b: {config: y}, a: {path: x}}\n" ROLES, NULL, 0);
    struct ap_recipe *c = must_parse(ROLES "models: {b: {config: x}, a: {path: y}}", NULL, 0);
    struct ap_recipe *d = /* one that only judges, or nobody asks */
        must_parse(ROLES "models: {a: {path: x}, b: {config: y}, z: {path: w}}\n"
                         "judges: {j: {model: z}}",
                   NULL, 0);
    assert_true(ap_recipe_fingerprint(a) == ap_recipe_fingerprint(b));
    assert_true(ap_recipe_fingerprint(a) != ap_recipe_fingerprint(c));
    assert_true(ap_recipe_fingerprint(a) == ap_recipe_fingerprint(d));
    ap_recipe_close(d);
#undef ROLES
    ap_recipe_close(a);
    ap_recipe_close(b);
    ap_recipe_close(c);
}

/* Of a section that is not there no key counts; one that is there with defaults is another run. */
static void sections_that_may_lack(void **state)
{
    (void)state;
    static const char without[] = "models: {m: {path: x}}\ntarget: {model: m}\n"
                                  "reward: {rule: length, length: 3}\nrun: {dir: o}\n";
    static const char *const sections[] = {"rlhf", "dpo", "ift"};
    for (size_t i = 0; i < AP_LEN(sections); i++) {
        char with[2048], key[64];
        struct ap_error err;
        struct ap_buffer out = {0};
        const char *const set[] = {key};
        snprintf(with, sizeof(with), "%s%s: {path: p}\n", without, sections[i]);
        snprintf(key, sizeof(key), "%s.lr=0.5", sections[i]);
        struct ap_recipe *a = must_parse(without, NULL, 0), *b = must_parse(with, NULL, 0);
        struct ap_recipe *c = must_parse(with, set, 1);
        const struct ap_settings *s = ap_recipe_settings(b);
        assert_int_equal(s->has_rlhf + s->has_dpo + s->has_ift, 1);
        assert_true(ap_recipe_fingerprint(a) != ap_recipe_fingerprint(b));
        assert_true(ap_recipe_fingerprint(b) != ap_recipe_fingerprint(c));
        check_ok(ap_recipe_differences(a, b, AP_DIFFER_ANY, &out, &err), err);
        char want[64];
        snprintf(want, sizeof(want), "%s is absent there and present here", sections[i]);
        assert_string_equal(out.data, want);
        ap_buffer_clear(&out);
        check_ok(ap_recipe_differences(b, c, AP_DIFFER_ANY, &out, &err), err);
        check_holds(out.data, "lr is 0.0001 there and 0.5 here");
        ap_buffer_free(&out);
        ap_recipe_close(a);
        ap_recipe_close(b);
        ap_recipe_close(c);
    }
}

static void paths_of_a_file_are_relative_to_it(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_recipe *recipe;
    char *folder = fresh_folder(), *file = ap_path_join(folder, "r.yaml");
    char *expected = ap_path_join(folder, "out");
    check_ok(ap_file_write(file, RECIPE_SMALL, strlen(RECIPE_SMALL), &err), err);
    check_ok(ap_recipe_open(&recipe, file, NULL, 0, &err), err);
    char *real = realpath(folder, NULL);
    assert_non_null(strstr(ap_recipe_settings(recipe)->run.dir, real));
    free(real);
    ap_recipe_close(recipe);
    ap_free(expected);
    ap_free(file);
    remove_folder(folder);
}

static void help(void **state)
{
    (void)state;
    struct ap_error err;
    char *text;
    check_ok(ap_recipe_help("align.kl", &text, &err), err);
    check_holds(text, "align.kl: ");
    check_holds(text, "a number from 0 to 1000; default 0.05");
    assert_null(strstr(text, "rewrites"));
    assert_string_equal(strchr(text, '\n'), "\n");
    ap_free(text);
    check_ok(ap_recipe_help("data", &text, &err), err);
    check_holds(text, "data.too_long: ");
    check_holds(text, "one of skip, truncate, error; default skip");
    check_holds(text, "data.split.train: ");
    assert_null(strstr(text, "align.kl"));
    ap_free(text);
    check_ok(ap_recipe_help("models.any.path", &text, &err), err);
    check_holds(text, "models.NAME.path: ");
    ap_free(text);
    check_ok(ap_recipe_help(NULL, &text, &err), err);
    check_holds(text, "rlhf.kl: ");
    check_holds(text, "run.context: ");
    ap_free(text);
    assert_int_equal(ap_recipe_help("align.klx", &text, &err), AP_NOT_FOUND);
    check_holds(err.text, "align.kl ");
}

/* Every row: help, a default that is valid, a key that finds it, names that are unique. */
static void the_table_is_sound(void **state)
{
    (void)state;
    struct ap_setting_ref ref, found;
    size_t n = 0;
    for (size_t i = 0; ap_setting_at(i, &ref); i++, n++) {
        char key[AP_KEY_MAX], *text;
        struct ap_error err;
        snprintf(key, sizeof(key), "%s.%s", ref.group->prefix, ref.row->key);
        assert_true(ap_setting_find(key, &found));
        if (found.index != i)
            fprintf(stderr, "%s stands twice\n", key);
        assert_int_equal(found.index, i);
        assert_true(ref.row->help && strlen(ref.row->help) > 4 && strlen(ref.row->help) <= 100);
        assert_true(!ref.row->choices || strlen(ref.row->choices) > 0);
        check_ok(ap_recipe_help(key, &text, &err), err);
        ap_free(text);
    }
    assert_true(n < AP_SETTINGS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_designs_recipe),
        cmocka_unit_test(defaults),
        cmocka_unit_test(values_that_follow),
        cmocka_unit_test(overrides),
        cmocka_unit_test(commands),
        cmocka_unit_test(several_rewards),
        cmocka_unit_test(several_rewards_differ),
        cmocka_unit_test(differences_by_kind),
        cmocka_unit_test(labels),
        cmocka_unit_test(long_names_make_short_labels),
        cmocka_unit_test(what_makes_no_other_evaluation),
        cmocka_unit_test(what_is_kept_reads_back),
        cmocka_unit_test(a_list_of_prompters),
        cmocka_unit_test(variables_in_paths),
        cmocka_unit_test(resolved_reads_back),
        cmocka_unit_test(resolved_says_origins),
        cmocka_unit_test(fingerprints),
        cmocka_unit_test(sections_that_may_lack),
        cmocka_unit_test(paths_of_a_file_are_relative_to_it),
        cmocka_unit_test(help),
        cmocka_unit_test(the_table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
