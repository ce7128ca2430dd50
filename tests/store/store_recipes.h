/* Recipes that the tests of this folder share, and a temporary folder. */
#ifndef AP_TESTS_STORE_RECIPES_H
#define AP_TESTS_STORE_RECIPES_H

#include "check.h"
#include "store/recipe_inner.h"

#include "base/file.h"
#include "base/memory.h"

/* The smallest that passes. */
#define RECIPE_SMALL "run: {dir: out}\n"

/* The one of the design, with what is not bundled left out. */
#define RECIPE_FULL                                                                                \
    "models:\n"                                                                                    \
    "  small: {path: models/prompter}\n"                                                           \
    "  big:   {path: /abs/target}\n"                                                               \
    "prompter: {model: small, adapter: {rank: 16, alpha: 32, targets: all-linear}, "               \
    "meta_prompt: default, max_new_tokens: 96}\n"                                                  \
    "target:   {model: big, max_new_tokens: 256, temperature: 1.0}\n"                              \
    "reward:   {model: small, adapter: {rank: 16}}\n"                                              \
    "data:     {path: helpsteer.jsonl, format: helpsteer, score: helpfulness, "                    \
    "split: {train: 0.8, valid: 0.1, test: 0.1}, too_long: skip, bad_lines: 1%}\n"                 \
    "sft:      {source: best-of-n, n: 8, epochs: 2, lr: 2e-4, batch: 32}\n"                        \
    "reward_train: {epochs: 1, lr: 1e-4, batch: 32, margin: 0, centre: 0.01}\n"                    \
    "align:    {algorithm: rloo, kl: 0.03, rewrites: 4, answers: 2, prompts: 32, steps: 300, "     \
    "lr: 1e-4, epochs: 1, clip: 0.2}\n"                                                            \
    "rlhf:     {algorithm: ppo, steps: 200}\n"                                                     \
    "eval:     {arms: [bare, instruct, sft, align, rlhf], seeds: [1, 2, 3], judges: [reward]}\n"   \
    "text:     {template: auto, date: 26 Jul 2024}\n"                                              \
    "run:      {dir: runs/helpsteer, seed: 1, threads: 2, dtype: f32, context: auto}\n"

static inline ap_status parse(struct ap_recipe **out, const char *text,
                              const char *const *overrides, size_t n, struct ap_error *err)
{
    return ap_recipe_parse(out, text, strlen(text), "r.yaml", "/base", overrides, n, err);
}

/* A fresh folder below TMPDIR; allocated with malloc. */
static inline char *fresh_folder(void)
{
    char *path;
    const char *root = getenv("TMPDIR");
    assert_true(asprintf(&path, "%s/alignpro-store-XXXXXX", root ? root : "/tmp") > 0);
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void remove_folder(char *path)
{
    struct ap_error err;
    check_ok(ap_dir_remove(path, &err), err);
    free(path);
}

#endif
