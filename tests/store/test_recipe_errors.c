/* Recipes that are wrong: each is refused with its place, what was found and what was expected. */
#include "store_recipes.h"

struct bad_case {
    const char *text, *override;
    const char *holds[4]; /* parts of the message */
};

static void check_case(const struct bad_case *c)
{
    struct ap_error err = {0};
    struct ap_recipe *recipe = (struct ap_recipe *)1;
    ap_status status = parse(&recipe, c->text, &c->override, c->override ? 1 : 0, &err);
    if (status == AP_OK)
        fprintf(stderr, "taken: %s %s\n", c->text, c->override ? c->override : "");
    assert_int_not_equal(status, AP_OK);
    assert_int_equal(status, err.status);
    assert_null(recipe);
    for (int i = 0; i < 4 && c->holds[i]; i++)
        check_holds(err.text, c->holds[i]);
    assert_null(strchr(err.text, '\n'));
}

static void check_cases(const struct bad_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check_case(&cases[i]);
}

static void keys(void **state)
{
    (void)state;
    static const struct bad_case cases[] = {
        {"run: {dir: o}\nalign:\n  klx: 1\n",
         NULL,
         {"r.yaml:3:3: ", "unknown key align.klx", "nearest is align.kl "}},
        {"run: {dir: o}\nalgin: {kl: 1}\n",
         NULL,
         {"r.yaml:2:1: ", "unknown key algin", "nearest is align "}},
        {"modles: {}\n", NULL, {"r.yaml:1:1: ", "nearest is models "}},
        {"models: {a: {pth: x}}\n",
         NULL,
         {"r.yaml:1:14: ", "unknown key models.a.pth", "models.NAME.path"}},
        {"prompter: {adapter: {rnak: 2}}\n", NULL, {"r.yaml:1:22: ", "prompter.adapter.rank"}},
        {"data: {split: {tran: 1}}\n", NULL, {"data.split.train"}},
        {"run: {dir: o}\nalign.kl: 0.1\n",
         NULL,
         {"r.yaml:2:1: ", "'align.kl' holds a dot", "nest it"}},
        {"align: {kl: 1, steps: 2, kl: 3}\n",
         NULL,
         {"r.yaml:1:30: ", "align.kl is given twice", "first on line 1"}},
        {"align: {kl: 1}\nrun: {dir: o}\nalign: {steps: 3}\n",
         NULL,
         {"r.yaml:3:1: align is given twice, first on line 1"}},
        {"models: {a: {path: x}, a: {path: y}}\n", NULL, {"r.yaml:1:", "models.a is given twice"}},
        {"? [a]\n: b\n", NULL, {"r.yaml:1:3: ", "expected a name"}},
        {"<<: {kl: 1}\n", NULL, {"unknown key <<"}},
        {RECIPE_SMALL, "algn.kl=1", {"--set algn.kl=1: ", "unknown key algn.kl", "align.kl"}},
        {RECIPE_SMALL, "align.kl", {"--set align.kl: ", "is not KEY=VALUE"}},
        {RECIPE_SMALL,
         "target.budget={usd: 1}",
         {"--set target.budget={usd: 1}: target.budget is a section; set its keys one by one, as "
          "in --set target.budget.requests=VALUE (alignpro help target.budget"}},
        {RECIPE_SMALL, "guard={protect: [code]}", {"guard is a section", "--set guard."}},
        {RECIPE_SMALL,
         "prompter.adapter={rank: 2}",
         {"as in --set prompter.adapter.rank=VALUE, or it is none"}},
        {RECIPE_SMALL, "models={}", {"models is a section", "as in --set models.NAME.path=VALUE"}},
        {RECIPE_SMALL, "models.a={}", {"models.a is a section", "--set models.a.path=VALUE"}},
        {RECIPE_SMALL, "=3", {"is not KEY=VALUE"}},
        {RECIPE_SMALL, "models.a!.path=x", {"'a!' is no name"}},
        {"models: {'a b': {path: x}}\n", NULL, {"r.yaml:1:10: ", "'a b' is no name"}},
        {"models: {'': {path: x}}\n", NULL, {"unknown key models."}},
    };
    check_cases(cases, AP_LEN(cases));
}

static void types_and_ranges(void **state)
{
    (void)state;
    static const struct bad_case cases[] = {
        {"label: {data: \"a\\tb\"}\n",
         NULL,
         {"r.yaml:1:15: ", "label.data has a control character", "a short name on one line"}},
        {"align: {kl: much}\n",
         NULL,
         {"r.yaml:1:13: ", "align.kl is 'much'", "expected a number from 0 to 1000"}},
        {"align:\n  kl: -1\n", NULL, {"r.yaml:2:7: ", "align.kl is '-1'"}},
        {"align: {kl: nan}\n", NULL, {"'nan'", "expected a number"}},
        {"align: {kl: 0x10}\n", NULL, {"'0x10'", "expected a number"}},
        {"align: {kl: 1e999}\n", NULL, {"'1e999'"}},
        {"align: {kl: 5%}\n", NULL, {"'5%'"}},
        {"align: {kl: \"0.1\"}\n", NULL, {"align.kl is \"0.1\"", "expected a number"}},
        {"align: {kl: [0.1]}\n", NULL, {"align.kl is a list", "expected a number"}},
        {"align: {kl: {a: 1}}\n", NULL, {"r.yaml:1:13: ", "align.kl holds keys"}},
        {"align: {kl: }\n", NULL, {"align.kl is without a value"}},
        {"align: {kl: ~}\n", NULL, {"align.kl is without a value"}},
        {"align: {steps: 1.5}\n", NULL, {"'1.5'", "a whole number from 0 to 1000000000"}},
        {"align: {steps: 99999999999999999999}\n", NULL, {"whole number"}},
        {"align: {rewrites: 0}\n", NULL, {"'0'", "from 1 to 4096"}},
        {"align: {algorithm: gppo}\n",
         NULL,
         {"r.yaml:1:20: ", "align.algorithm is 'gppo'", "one of rloo, grpo, ppo"}},
        {"align: {kl_loss: k1}\n", NULL, {"align.kl_loss is 'k1'", "one of k2, k3"}},
        {"prompter: {adapter: {rslora: yes}}\n", NULL, {"'yes'", "true or false"}},
        {"eval: {arms: [bare, bear]}\n", NULL, {"'bear'", "a list of: bare, instruct"}},
        {"eval: {seeds: [1, x]}\n", NULL, {"'x'", "whole numbers"}},
        {"eval: {seeds: []}\n", NULL, {"an empty list"}},
        {"eval: {seeds: [[1]]}\n", NULL, {"eval.seeds holds keys or lists"}},
        {"run: {context: 0}\n", NULL, {"'0'", "or auto"}},
        {"run: {dtype: f64}\n", NULL, {"'f64', expected one of f32, bf16"}},
        {"run: {dir: ~}\n", NULL, {"run.dir is without a value", "a path"}},
        {"align: 3\n", NULL, {"r.yaml:1:8: ", "align is a value", "keys below it"}},
        {"align: [1]\n", NULL, {"align is a list"}},
        {"prompter: {adapter: some}\n", NULL, {"prompter.adapter is a value", "or none"}},
        {"models: {a: x}\n", NULL, {"models.a is a value"}},
        {RECIPE_SMALL, "align.kl=big", {"--set align.kl=big: ", "align.kl is 'big'"}},
        {RECIPE_SMALL, "eval.seeds=[1", {"--set eval.seeds=[1: ", "not YAML"}},
        {RECIPE_SMALL, "run.dir=\xff", {"not UTF-8"}},
    };
    check_cases(cases, AP_LEN(cases));
}

static void yaml(void **state)
{
    (void)state;
    static const struct bad_case cases[] = {
        {"", NULL, {"r.yaml:1:1: ", "holds no keys"}},
        {"# only this\n", NULL, {"holds no keys"}},
        {"models: {a: {path: ${X}/y}}\n",
         NULL,
         {"r.yaml:1:", "is not YAML", "quote what holds braces"}},
        {"- a\n", NULL, {"r.yaml:1:1: ", "is a list or a text"}},
        {"text", NULL, {"is a list or a text"}},
        {"run: {dir: o\n", NULL, {"r.yaml:", "is not YAML"}},
        {"run:\n\tdir: o\n", NULL, {"r.yaml:2:", "is not YAML", "tab"}},
        {"align: {kl: 1}}\n", NULL, {"r.yaml:1:15: ", "is not YAML"}},
        {"run: {dir: &a o}\n", NULL, {"r.yaml:1:", "anchors, aliases and tags"}},
        {"run: {dir: *a}\n", NULL, {"anchors, aliases and tags"}},
        {"run: {dir: !!str o}\n", NULL, {"anchors, aliases and tags"}},
        {"run: {dir: o}\n---\nrun: {dir: p}\n", NULL, {"r.yaml:2:1: ", "second document"}},
        {"run: {dir: o}\nalign: {kl: \xff}\n", NULL, {"r.yaml:2:13: ", "not UTF-8"}},
        {"run: {dir: \"a\\0b\"}\n", NULL, {"run.dir", "NUL"}},
    };
    check_cases(cases, AP_LEN(cases));
}

#define MODELS "run: {dir: o}\nmodels: {m: {path: x}}\n"
#define ROLES MODELS "prompter: {model: m}\ntarget: {model: m}\nreward: {rule: length, length: 9}\n"

static void several_keys_together(void **state)
{
    (void)state;
    static const struct bad_case cases[] = {
        {"align: {}\n", NULL, {"r.yaml:1:1: ", "prompter.model is missing", "align trains it"}},
        {"text: {date: x}\n", NULL, {"r.yaml:1:1: ", "run.dir is missing"}},
        {"run: {seed: 1}\n", NULL, {"r.yaml:1:1: ", "run.dir is missing"}},
        {MODELS "prompter: {model: n}\n",
         NULL,
         {"r.yaml:3:19: ", "prompter.model: 'n' names no model under models:", "m"}},
        {MODELS "pretrain: {model: n, path: p}\n", NULL, {"pretrain.model: 'n' names no model"}},
        {"run: {dir: o}\ntarget: {model: n}\n", NULL, {"there are none"}},
        {"run: {dir: o}\nmodels: {m: {}}\n",
         NULL,
         {"r.yaml:2:10: ", "models.m has neither path nor config"}},
        {"run: {dir: o}\nmodels: {m: {path: x, config: y}}\n",
         NULL,
         {"models.m has both path and config"}},
        {"run: {dir: o}\nmodels: {m: {path: x, init: random}}\n",
         NULL,
         {"models.m has init without config"}},
        {"run: {dir: o}\ndata:\n  split: {train: 0.5}\n",
         NULL,
         {"r.yaml:3:3: ", "0.5 + 0.1 + 0.1 = 0.7", "a sum of 1"}},
        {RECIPE_SMALL, "data.split.test=50%", {"--set data.split.test=50%: ", "a sum of 1"}},
        {"run: {dir: o}\nreward: {rule: length}\n",
         NULL,
         {"r.yaml:2:", "reward.length is missing"}},
        {"run: {dir: o}\nreward: {rule: match}\n", NULL, {"reward.pattern is missing"}},
        {"run: {dir: o}\nreward: {kind: rule}\n",
         NULL,
         {"r.yaml:2:16: ", "reward.kind is rule without reward.rule"}},
        {"run: {dir: o}\nreward: {kind: implicit, rule: length, length: 2}\n",
         NULL,
         {"reward.kind is implicit with reward.rule"}},
        {"run: {dir: o}\nreward: {kind: command}\n",
         NULL,
         {"r.yaml:2:16: ", "reward.kind is command without reward.command; add it"}},
        {"run: {dir: o}\nreward: {kind: implicit, command: ./x}\n",
         NULL,
         {"r.yaml:2:16: ", "reward.kind is implicit with reward.command"}},
        {"run: {dir: o}\nreward: {rule: length, length: 3, command: ./x}\n",
         NULL,
         {"r.yaml:2:44: ", "both a rule and a command"}},
        {"run: {dir: o}\nreward: {command: ' '}\n",
         NULL,
         {"r.yaml:2:19: ", "reward.command is empty, expected a program"}},
        {"run: {dir: o}\nreward: {command: {a: b}}\n", NULL, {"r.yaml:2:19: ", "a plain value"}},
        {"run: {dir: o}\nreward: {command: x, timeout: 0}\n",
         NULL,
         {"r.yaml:2:31: ", "reward.timeout is '0', expected a number from 0.001"}},
        {ROLES "align: {path: p, kl: 0, kl_target: 3}\n",
         NULL,
         {"r.yaml:6:22: ", "align.kl is 0, expected more: align.kl_target multiplies it"}},
        {ROLES "align: {path: p, kl_target: 3, kl_horizon: 100, prompts: 26}\n",
         NULL,
         {"r.yaml:6:44: ", "align.kl_horizon is 100, expected at least prompts x rewrites = 104"}},
        {MODELS "reward: {model: m, command: x}\n", NULL, {"both a model and a command"}},
        {MODELS "reward: {model: m, rule: length, length: 3}\n", NULL, {"both a model and a rule"}},
        {MODELS "reward: {}\n", NULL, {"r.yaml:3:1: ", "reward.model is missing"}},
        {MODELS "reward: {model: m}\n",
         NULL,
         {"data.path is missing", "neither pairs to learn from"}},
        {ROLES "sft: {source: file}\n", NULL, {"r.yaml:6:", "sft.path is missing"}},
        {ROLES "sft: {path: x}\n",
         NULL,
         {"r.yaml:6:13: ", "sft.source is none", "write source: file"}},
        {ROLES "sft: {source: best-of-n}\n", NULL, {"data.path is missing", "sft takes prompts"}},
        {ROLES "align: {}\n", NULL, {"data.path is missing", "align has no path"}},
        {ROLES "align: {path: p, rewrites: 1}\n",
         NULL,
         {"r.yaml:6:28: ", "align.rewrites is 1, expected at least 2 with rloo"}},
        {ROLES "align: {path: p, minibatches: 1000}\n", NULL, {"align.minibatches is 1000", "128"}},
        {ROLES "align: {path: p}\nrlhf: {algorithm: rloo, rewrites: 1}\n",
         NULL,
         {"r.yaml:7:35: ", "rlhf.rewrites is 1"}},
        {ROLES "eval: {path: p, arms: [bare, rlhf]}\n", NULL, {"r.yaml:6:23: ", "no rlhf section"}},
        {ROLES "eval: {path: p, arms: [bare, bare]}\n", NULL, {"eval.arms names bare twice"}},
        {ROLES "eval: {path: p, seeds: [3, 3]}\n", NULL, {"eval.seeds has 3 twice"}},
        {ROLES "eval: {path: p, noise: [0.1, 0.1]}\n", NULL, {"r.yaml:6:24: ", "rising strengths"}},
        {ROLES "eval: {path: p, noise: [10%, 2]}\n", NULL, {"eval.noise is '2'", "percentages"}},
        {ROLES "eval: {path: p, arms: []}\n", NULL, {"eval.arms is an empty list"}},
        {ROLES "eval: {path: p, judges: [world, world]}\n",
         NULL,
         {"eval.judges names world twice"}},
        {RECIPE_SMALL,
         "run.context=100",
         {"run.context is 100, expected more than target.max_new_tokens (256)"}},
        {MODELS "pretrain: {model: m}\n", NULL, {"pretrain.path is missing"}},
        {MODELS "rlhf: {}\n", NULL, {"r.yaml:", "target.model is missing"}},
    };
    check_cases(cases, AP_LEN(cases));
}

static void sections_for_comparison(void **state)
{
    (void)state;
    static const struct bad_case cases[] = {
        {ROLES "align: {path: p, algorithm: grpo, rewrites: 1}\n",
         NULL,
         {"align.rewrites is 1, expected at least 2 with grpo"}},
        {ROLES "eval: {path: p, arms: [bare, dpo]}\n",
         NULL,
         {"r.yaml:6:23: ", "no dpo section", "`alignpro dpo`"}},
        {ROLES "eval: {path: p, arms: [bare, ift]}\n", NULL, {"no ift section", "add ift: {}"}},
        {ROLES "dpo: {}\n", NULL, {"data.path is missing", "dpo has no path"}},
        {ROLES "ift: {}\n", NULL, {"data.path is missing", "ift has no path"}},
        {ROLES "dpo: {path: p, label_smoothing: 0.6}\n", NULL, {"dpo.label_smoothing", "0.5"}},
        {ROLES "ift: {path: p, eta: 2}\n", NULL, {"ift.eta", "from 0 to 1"}},
        {MODELS "dpo: {path: p}\n", NULL, {"r.yaml:", "target.model is missing"}},
    };
    check_cases(cases, AP_LEN(cases));
}

static void rewards(void **state)
{
    (void)state;
    static const struct bad_case cases[] = {
        {"run: {dir: o}\nreward: {rule: match, pattern: x}\nrewards: {a: {rule: match, pattern: "
         "x}}\n",
         NULL,
         {"r.yaml:2:1: ", "has both reward and rewards"}},
        {"run: {dir: o}\nrewards: {world: {rule: match, pattern: x}}\n",
         NULL,
         {"r.yaml:2:11: ", "rewards.world: world is the name of another judge"}},
        {"run: {dir: o}\nrewards: {a: {rule: match}}\n",
         NULL,
         {"r.yaml:2:11: ", "rewards.a.pattern is missing"}},
        {"run: {dir: o}\nrewards:\n  a: {rule: match, pattern: x}\n  b: {model: m}\n",
         NULL,
         {"r.yaml:4:14: ", "rewards.b.model: 'm' names no model"}},
        {"run: {dir: o}\nrewards: {a: {rule: match, pattern: x, weight: 0}}\n",
         NULL,
         {"r.yaml:2:1: ", "every weight is 0"}},
        {"run: {dir: o}\nrewards: {a: {}}\n",
         NULL,
         {"r.yaml:2:11: ", "rewards.a.model is missing"}},
        {MODELS "rewards: {a: {model: m}}\n", NULL, {"data.path is missing", "neither pairs"}},
        {"run: {dir: o}\nrewards: {a: {rule: match, pattern: x}}\neval: {judges: [reward, b]}\n",
         NULL,
         {"r.yaml:3:", "eval.judges is 'b', expected one of: reward, world, a"}},
        {"run: {dir: o}\nrewards: {a: {rule: match}, a: {}}\n",
         NULL,
         {"r.yaml:2:29: ", "rewards.a is given twice, first on line 2"}},
        {"run: {dir: o}\nrewards: {a: {adapter: {rank: 1}, adapter: none}}\n",
         NULL,
         {"r.yaml:2:35: ", "rewards.a.adapter is given twice"}},
        {"run: {dir: o}\nrewards: {abcdefghijklmnopqrstuvwxy: {}}\n",
         NULL,
         {"r.yaml:2:11: ", "is no name, expected at most 24 letters"}},
        {"run: {dir: o}\nrewards: {a: {rul: match}}\n",
         NULL,
         {"r.yaml:2:15: ", "unknown key rewards.a.rul; the nearest is rewards.NAME.rule"}},
        {"run: {dir: o}\nrewards: {a: {rule: match, pattern: x}}\n",
         "rewards.b.weight=x",
         {"--set rewards.b.weight=x: ", "rewards.b.weight is 'x', expected a number"}},
        {"run: {dir: o}\nrewards: [a, b]\n",
         NULL,
         {"r.yaml:2:10: ", "rewards is a list, expected names below it"}},
        {"run: {dir: o}\nreward: [{rule: match}, {rule: length}]\n",
         NULL,
         {"r.yaml:2:9: ",
          "reward is a list, expected keys below it; several go below rewards, each by a name"}},
        {"run: {dir: o}\nrewards: {a: {b: {c: 1}}}\n",
         NULL,
         {"r.yaml:2:15: ", "unknown key rewards.a.b"}},
        {"run: {dir: o}\nrewards: {a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1}\n",
         NULL,
         {"r.yaml:2:14: ", "rewards.a is a value"}},
        {"run: {dir: o}\nrewards: {a: {}, b: {}, c: {}, d: {}, e: {}, f: {}, g: {}, h: {}, i: "
         "{}}\n",
         NULL,
         {"r.yaml:2:67: ", "rewards has more than 8 names"}},
    };
    check_cases(cases, AP_LEN(cases));
}

static void lists_of_prompters(void **state)
{
    (void)state;
#define LIST "run: {dir: o}\nmodels: {m: {path: x}}\nprompter:\n  - {model: m}\n  - {model: m}\n"
    static const struct bad_case cases[] = {
        {"run: {dir: o}\nprompter: [{model: m}]\n",
         NULL,
         {"r.yaml:2:20: ", "prompter.1.model: 'm' names no model under models:"}},
        {MODELS "prompter:\n  - {model: m}\n  - {max_new_tokens: 9}\n",
         NULL,
         {"r.yaml:5:5: ", "prompter.2.model is missing, every prompter of the list has one"}},
        {MODELS "prompter: [m, m]\n",
         NULL,
         {"r.yaml:3:12: ", "prompter.1 is a value or a list, expected keys such as {model: NAME}"}},
        {MODELS "prompter: []\nalign: {path: p}\n", NULL, {"prompter.model is missing"}},
        {MODELS "prompter:\n  - {model: m}\n  - {model: m, max_tokens: 9}\n",
         NULL,
         {"r.yaml:5:16: ", "unknown key prompter.2.max_tokens; the nearest is"}},
        {MODELS "prompter: [{model: m}, {model: m}, {model: m}, {model: m}, {model: m}]\n",
         NULL,
         {"r.yaml:3:60: ", "prompter has more than 4 elements"}},
        {LIST,
         "prompter.max_new_tokens=9",
         {"but prompter is a list; say of which, as in prompter.1."}},
        {LIST, "prompter.4.model=m", {"prompter.4: the list has 2 elements, expected 3 next"}},
        {LIST,
         "align.valid_every=5",
         {"align.valid_every is 5, expected 0 with a list of prompters"}},
        {LIST, "prompter.2.temperature=0", {"prompter.2.temperature is '0', expected a number"}},
        {LIST "run: {context: 90}\n", NULL, {"run is given twice"}},
        {LIST "eval: {arms: [align-2], path: p}\ntarget: {model: m}\n",
         NULL,
         {"r.yaml:6:14: ", "eval.arms names align-2, but there are 2 prompters"}},
        {ROLES "eval: {arms: [align-1], path: p}\n",
         NULL,
         {"eval.arms names align-1, but there is 1 prompter: write align, or prompter as a list"}},
        {ROLES "align: {prompters: joint, path: p}\n",
         NULL,
         {"r.yaml:6:20: ", "align.prompters is joint, but there is one prompter"}},
        {ROLES "align: {prompters: both, path: p}\n", NULL, {"one of in-turn, joint"}},
        {ROLES "rlhf: {prompters: joint, path: p}\n", NULL, {"unknown key rlhf.prompters"}},
    };
    check_cases(cases, AP_LEN(cases));
#undef LIST
}

static void variables(void **state)
{
    (void)state;
    unsetenv("AP_TEST_NONE");
    setenv("AP_TEST_BAD", "\xff", 1);
    static const struct bad_case cases[] = {
        {"run: {dir: '${AP_TEST_NONE}/x'}\n",
         NULL,
         {"r.yaml:1:12: ", "run.dir: ", "AP_TEST_NONE is not set"}},
        {"run: {dir: '${AP_TEST_NONE'}\n", NULL, {"is not ${VAR}"}},
        {"run: {dir: '${}'}\n", NULL, {"is not ${VAR}"}},
        {"run: {dir: '${A B}'}\n", NULL, {"is not ${VAR}"}},
        {"run: {dir: '${AP_TEST_NONE:-}'}\n", NULL, {"is empty after its variables"}},
        {"run: {dir: '${AP_TEST_BAD}'}\n", NULL, {"AP_TEST_BAD is not UTF-8"}},
        {RECIPE_SMALL, "run.dir=${AP_TEST_NONE}", {"--set run.dir", "AP_TEST_NONE is not set"}},
    };
    check_cases(cases, AP_LEN(cases));
}

static void files(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_recipe *recipe;
    char *folder = fresh_folder(), *path = ap_path_join(folder, "big.yaml");
    char *big = ap_calloc(AP_RECIPE_BYTES_MAX + 1, 1);
    memset(big, '#', AP_RECIPE_BYTES_MAX + 1);
    assert_int_equal(ap_recipe_open(&recipe, "/nonexistent/r.yaml", NULL, 0, &err), AP_NOT_FOUND);
    check_holds(err.text, "/nonexistent/r.yaml");
    check_ok(ap_file_write(path, big, AP_RECIPE_BYTES_MAX + 1, &err), err);
    assert_int_equal(ap_recipe_open(&recipe, path, NULL, 0, &err), AP_LIMIT);
    check_holds(err.text, "big.yaml");
    assert_int_equal(ap_recipe_open(&recipe, folder, NULL, 0, &err), AP_INVALID);
    check_holds(err.text, "is a directory, expected a regular file");
    check_ok(ap_file_write_in(folder, "recipe.yaml", "", 0, &err), err);
    assert_int_equal(ap_recipe_open(&recipe, folder, NULL, 0, &err), AP_INVALID);
    check_holds(err.text, "is a directory, expected a recipe; there is one in it, ");
    check_holds(err.text, "/recipe.yaml");
    check_ok(ap_file_write(path, "", 0, &err), err);
    assert_int_equal(ap_recipe_open(&recipe, path, NULL, 0, &err), AP_INVALID);
    check_holds(err.text, "big.yaml:1:1: holds no keys");
    check_ok(ap_file_write(path, "align: {klx: 1}\n", 16, &err), err);
    assert_int_equal(ap_recipe_open(&recipe, path, NULL, 0, &err), AP_INVALID);
    check_holds(err.text, "big.yaml:1:9: unknown key align.klx");
    ap_free(big);
    ap_free(path);
    remove_folder(folder);
}

static void long_lists_and_texts(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_recipe *recipe;
    struct ap_buffer text = {0};
    check_ok(ap_buffer_puts(&text, "eval: {seeds: [", &err), err);
    for (int i = 0; i < 40; i++)
        check_ok(ap_buffer_printf(&text, &err, "%d, ", i), err);
    check_ok(ap_buffer_puts(&text, "40]}\n", &err), err);
    assert_int_equal(parse(&recipe, text.data, NULL, 0, &err), AP_LIMIT);
    check_holds(err.text, "r.yaml:1:");
    check_holds(err.text, "eval.seeds: has more than 32 elements");
    ap_buffer_clear(&text);
    check_ok(ap_buffer_puts(&text, "models: {", &err), err);
    for (int i = 0; i < 20; i++)
        check_ok(ap_buffer_printf(&text, &err, "m%d: {path: x}, ", i), err);
    check_ok(ap_buffer_puts(&text, "}\n", &err), err);
    assert_int_equal(parse(&recipe, text.data, NULL, 0, &err), AP_LIMIT);
    check_holds(err.text, "models has more than 16 names");
    ap_buffer_clear(&text);
    check_ok(ap_buffer_puts(&text, "prompter: {meta_prompt: ", &err), err);
    for (int i = 0; i < 70000; i++)
        check_ok(ap_buffer_append(&text, "x", 1, &err), err);
    check_ok(ap_buffer_puts(&text, "}\n", &err), err);
    assert_int_equal(parse(&recipe, text.data, NULL, 0, &err), AP_LIMIT);
    check_holds(err.text, "prompter.meta_prompt: has 70000 bytes");
    ap_buffer_free(&text);
}

/* Deep nesting and damaged text end in an error or a recipe, never in a crash; the fuzzer goes
 * further. */
static void damaged_text(void **state)
{
    (void)state;
    char text[sizeof(RECIPE_FULL)], deep[4096];
    uint32_t x = 12345;
    int refused = 0;
    for (int round = 0; round < 1500; round++) {
        memcpy(text, RECIPE_FULL, sizeof(text));
        for (int k = 0; k < 3; k++) {
            x = x * 1664525u + 1013904223u;
            text[(x >> 8) % (sizeof(text) - 1)] =
                "{}[]:,#&*!|>'\"%@`-? \n\t0aZ\x80\xff"[(x >> 3) % 28];
        }
        struct ap_error err;
        struct ap_recipe *recipe;
        refused += ap_recipe_parse(&recipe, text, sizeof(text) - 1, "r", "/b", NULL, 0, &err) != 0;
        ap_recipe_close(recipe);
    }
    assert_true(refused > 500 && refused < 1500);
    for (int kind = 0; kind < 3; kind++) {
        struct ap_error err;
        struct ap_recipe *recipe;
        memset(deep, "[{-"[kind], sizeof(deep));
        memcpy(deep, "eval: {arms: ", 13);
        assert_int_not_equal(ap_recipe_parse(&recipe, deep, sizeof(deep), "r", "/b", NULL, 0, &err),
                             AP_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),
        cmocka_unit_test(types_and_ranges),
        cmocka_unit_test(yaml),
        cmocka_unit_test(several_keys_together),
        cmocka_unit_test(sections_for_comparison),
        cmocka_unit_test(rewards),
        cmocka_unit_test(lists_of_prompters),
        cmocka_unit_test(variables),
        cmocka_unit_test(files),
        cmocka_unit_test(damaged_text),
        cmocka_unit_test(long_lists_and_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
