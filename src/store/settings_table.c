/* The rows: every key of a recipe with its type, range, default and one line of help. To add a
 * setting, add a member in settings.h and a row here. Not here: look-ups (settings_find.c), values
 * (settings_value.c). Entry points: ap_setting_groups, ap_named_sections, ap_monitor_name. */
#include "store/settings_table.h"

#include "base/error.h"

#define INT_MOST 1e9
#define INT64_MOST 9007199254740992.0 /* 2^53: exact as a double, too */

#define ROW(k, t, member, def, ...)                                                                \
    {                                                                                              \
        .key = (k), .type = AP_SETTING_##t, .offset = offsetof(OWNER, member), .fallback = (def),  \
        __VA_ARGS__                                                                                \
    }
#define RANGE(lo, hi) .min = (lo), .max = (hi)
#define FLAGS(f) .flags = (f)
#define CHOICES(c) .choices = (c)
#define LIST(member) .offset_n = offsetof(OWNER, member)
#define HELP(text) .help = (text)

#define OWNER struct ap_model_settings
static const struct ap_setting model_rows[] = {
    ROW("path", PATH, path, "",
        HELP("Hugging Face folder: config.json, safetensors, tokenizer.json")),
    ROW("config", PATH, config, "",
        HELP("config.json to build the model from, with random weights")),
    ROW("tokenizer", PATH, tokenizer, "",
        HELP("folder of tokenizer.json; empty for the model's own folder")),
    ROW("init", CHOICE, init, "", CHOICES("random"),
        HELP("how weights of a model made from config begin")),
};
#undef OWNER

#define OWNER struct ap_adapter_settings
static const struct ap_setting adapter_rows[] = {
    ROW("rank", INT, rank, "0", RANGE(0, 4096),
        HELP("rank of the LoRA adapter; 0 trains the whole model")),
    ROW("alpha", REAL, alpha, "auto", RANGE(1e-3, 1e6), FLAGS(AP_SETTING_AUTO),
        HELP("scale of the adapter, times 1/rank; auto is twice the rank")),
    ROW("targets", NAMES, targets, "all-linear",
        HELP("linear maps that get an adapter: all-linear, or a list such as [q_proj, v_proj]")),
    ROW("rslora", BOOL, rslora, "false",
        HELP("divide alpha by the square root of the rank instead")),
    ROW("dropout", REAL, dropout, "0", RANGE(0, 0.999),
        HELP(
            "share of a map's inputs that the adapter misses in supervised training; never in RL")),
};
#undef OWNER

#define OWNER struct ap_optimiser_settings
static const struct ap_setting optimiser_rows[] = {
    ROW("lr", REAL, lr, "1e-4", RANGE(0, 10), HELP("learning rate of AdamW")),
    ROW("schedule", CHOICE, schedule, "constant", CHOICES("constant|cosine|linear"),
        HELP("course of the learning rate after the warm-up")),
    ROW("warmup", REAL, warmup, "0", RANGE(0, 1), FLAGS(AP_SETTING_SHARE),
        HELP("share of the steps in which the learning rate rises from 0")),
    ROW("lr_end", REAL, lr_end, "0.1", RANGE(0, 1), FLAGS(AP_SETTING_SHARE),
        HELP("last learning rate as a share of lr (cosine, linear)")),
    ROW("beta1", REAL, beta1, "0.9", RANGE(0, 0.9999999), HELP("AdamW: decay of the mean")),
    ROW("beta2", REAL, beta2, "0.95", RANGE(0, 0.9999999), HELP("AdamW: decay of the square")),
    ROW("eps", REAL, eps, "1e-8", RANGE(1e-16, 1), HELP("AdamW: added to the root")),
    ROW("weight_decay", REAL, weight_decay, "0", RANGE(0, 10),
        HELP("AdamW: decoupled weight decay")),
    ROW("max_grad_norm", REAL, clip, "1", RANGE(0, 1e6),
        HELP("clip of the global gradient norm; 0 for none")),
    ROW("batch_tokens", INT, batch_tokens, "4096", RANGE(1, INT_MOST),
        HELP("most tokens in one micro-batch; less memory, the same step")),
    ROW("gradient_checkpointing", BOOL, gradient_checkpointing, "false", FLAGS(AP_SETTING_HARMLESS),
        HELP("keep each layer's input and compute the rest again; less memory, the same step")),
};
#undef OWNER

#define OWNER struct ap_prompter_settings
static const struct ap_setting prompter_rows[] = {
    ROW("model", TEXT, model, "", HELP("which of models: writes the rewrites")),
    ROW("meta_prompt", TEXT, meta_prompt, "default",
        HELP("text around the user's prompt, {prompt} in it; default asks for a rewrite")),
    ROW("max_new_tokens", INT, max_new_tokens, "96", RANGE(1, 1e6),
        HELP("most tokens of a rewrite, the end token included")),
    ROW("temperature", REAL, temperature, "1", RANGE(1e-3, 100),
        HELP("of rewrites while training; log-probabilities use the same")),
};
#undef OWNER

#define HTTP_ROWS(url_flags, body_flags)                                                           \
    ROW("url", TEXT_LIST, http.url, "", LIST(http.n_url), FLAGS(url_flags),                        \
        HELP("address of an OpenAI-compatible server, https://HOST/v1; or several of one model")), \
        ROW("key_env", TEXT, http.key_env, "", FLAGS(AP_SETTING_HARMLESS),                         \
            HELP("environment variable that holds its key")),                                      \
        ROW("key_file", PATH, http.key_file, "", FLAGS(AP_SETTING_HARMLESS),                       \
            HELP("in its place a file that only you may read (0600)")),                            \
        ROW("ca_file", PATH, http.ca_file, "", FLAGS(AP_SETTING_HARMLESS),                         \
            HELP("certificates (PEM) that an https address is checked against; empty: the "        \
                 "system's")),                                                                     \
        ROW("concurrency", INT, http.concurrency, "8", RANGE(1, 1024), FLAGS(AP_SETTING_HARMLESS), \
            HELP("requests in flight at each address")),                                           \
        ROW("rpm", REAL, http.rpm, "0", RANGE(0, 1e9), FLAGS(AP_SETTING_HARMLESS),                 \
            HELP("most requests a minute; 0 for no limit")),                                       \
        ROW("tpm", REAL, http.tpm, "0", RANGE(0, 1e12), FLAGS(AP_SETTING_HARMLESS),                \
            HELP("most tokens a minute, prompt and max_new_tokens; 0 for no limit")),              \
        ROW("retries", INT, http.retries, "8", RANGE(0, 1000), FLAGS(AP_SETTING_HARMLESS),         \
            HELP("attempts after one that failed; with 8 an outage of two minutes stops the "      \
                 "run, with 16 one of ten")),                                                      \
        ROW("body", TEXT, http.body, "", FLAGS(AP_SETTING_JSON | (body_flags)),                    \
            HELP("http: a JSON object whose keys go into every request; null takes one out"))

#define OWNER struct ap_budget_settings
static const struct ap_setting budget_rows[] = {
    ROW("requests", INT64, requests, "0", RANGE(0, INT64_MOST), FLAGS(AP_SETTING_HARMLESS),
        HELP("most requests that the run may send; 0 for no limit")),
    ROW("tokens", INT64, tokens, "0", RANGE(0, INT64_MOST), FLAGS(AP_SETTING_HARMLESS),
        HELP("most tokens that it may buy, read and written; 0 for no limit")),
    ROW("usd", REAL, usd, "0", RANGE(0, 1e12), FLAGS(AP_SETTING_HARMLESS),
        HELP("most money that it may spend, by the prices below; 0 for no limit")),
    ROW("price_in", REAL, price_in, "0", RANGE(0, 1e9), FLAGS(AP_SETTING_HARMLESS),
        HELP("price of a million tokens read")),
    ROW("price_out", REAL, price_out, "0", RANGE(0, 1e9), FLAGS(AP_SETTING_HARMLESS),
        HELP("price of a million tokens written")),
};
#undef OWNER

#define OWNER struct ap_target_settings
static const struct ap_setting target_rows[] = {
    ROW("kind", CHOICE, kind, "auto", CHOICES("local|http"), FLAGS(AP_SETTING_AUTO),
        HELP("one of models, or a server; auto: by whether there is a url")),
    ROW("model", TEXT, model, "",
        HELP("which of models: answers, frozen but for rlhf, dpo, ift; with a url the server's "
             "name")),
    HTTP_ROWS(AP_SETTING_HARMLESS, 0),
    ROW("timeout", REAL, timeout, "120", RANGE(1e-3, 1e6), FLAGS(AP_SETTING_HARMLESS),
        HELP("http: most seconds of one attempt")),
    ROW("api", CHOICE, api, "chat", CHOICES("chat|completions"),
        HELP("http: /chat/completions, or /completions with the texts of the turns by lines")),
    ROW("name", TEXT, name, "auto", FLAGS(AP_SETTING_AUTO | AP_SETTING_HARMLESS),
        HELP("http: by what its answers are known in the ledger; auto: the first url")),
    ROW("together", INT, together, "1", RANGE(1, 128),
        HELP("http: answers to one prompt that one request asks for (n), where the server can")),
    ROW("logprobs", BOOL, logprobs, "false", FLAGS(AP_SETTING_HARMLESS),
        HELP("http: bound asks for those of what is read: vLLM's prompt_logprobs, completions' "
             "echo")),
    ROW("refusal", TEXT, refusal, "scored",
        HELP("http: what a refusal by a content filter is worth: a number, or scored, as its text "
             "is")),
    ROW("max_new_tokens", INT, max_new_tokens, "256", RANGE(1, 1e6),
        HELP("most tokens of an answer")),
    ROW("temperature", REAL, temperature, "1", RANGE(0, 100),
        HELP("of answers; 0 takes the likeliest token")),
    ROW("top_p", REAL, top_p, "1", RANGE(1e-6, 1),
        HELP("nucleus of the answers' tokens; 1 for all")),
    ROW("top_k", INT, top_k, "0", RANGE(0, INT_MOST),
        HELP("likeliest tokens of an answer; 0 for all")),
    ROW("min_p", REAL, min_p, "0", RANGE(0, 1),
        HELP("least probability of an answer's tokens, as a share of the likeliest; 0 for all")),
    ROW("repetition_penalty", REAL, repetition_penalty, "1", RANGE(0.01, 100),
        HELP("of tokens that prompt or answer hold already, as transformers' own; 1 for none")),
    ROW("stop", TEXT_LIST, stop, "", LIST(n_stop), HELP("texts at which an answer ends")),
};
#undef OWNER

#define OWNER struct ap_reward_settings
static const struct ap_setting reward_rows[] = {
    ROW("model", TEXT, model, "",
        HELP("which of models: learns the reward; none with a rule or command; with a url the "
             "server's name")),
    ROW("kind", CHOICE, kind, "auto", CHOICES("classifier|implicit|rule|command|http"),
        FLAGS(AP_SETTING_AUTO),
        HELP("scalar head, math.md (9); implicit, (9a); or auto: what the other keys say")),
    HTTP_ROWS(0, 0),
    ROW("shape", CHOICE, shape, "scalar", CHOICES("scalar|classify|pooling"),
        HELP("http: url takes {prompt, response} and gives a number; or vLLM's endpoints")),
    ROW("beta", REAL, beta, "0.2", RANGE(1e-6, 1e3),
        HELP("implicit: scale of the log-ratio, math.md (9a)")),
    ROW("floor", REAL, floor, "0.002", RANGE(0, 0.5),
        HELP("implicit: added to each probability when scoring, math.md (9a)")),
    ROW("rule", CHOICE, rule, "", CHOICES("length|regex|match"), HELP("a reward without a model")),
    ROW("pattern", TEXT, pattern, "", HELP("regex: a PCRE2 pattern; match: the exact answer")),
    ROW("length", REAL, length, "0", RANGE(0, 1e9), HELP("length: wanted number of characters")),
    ROW("command", TEXT_LIST, command, "", LIST(n_command), FLAGS(AP_SETTING_WHOLE),
        HELP("a program that scores JSON lines (docs/formats.md): a shell line, or its words")),
    ROW("folder", PATH, folder, "", FLAGS(AP_SETTING_HARMLESS),
        HELP("where the command works; empty for the recipe's own folder")),
    ROW("timeout", REAL, timeout, "120", RANGE(1e-3, 1e6), FLAGS(AP_SETTING_HARMLESS),
        HELP("most seconds of command (its start included) or server for one answer")),
    ROW("weight", REAL, weight, "1", RANGE(-1e6, 1e6),
        HELP("of its score, normalised, in the sum of rewards")),
    ROW("normalise", BOOL, normalise, "auto", FLAGS(AP_SETTING_AUTO),
        HELP("fix mean 0 and variance 1 on bare answers, math.md (9); auto: for models only")),
    ROW("trained", PATH, trained, "",
        HELP("folder of a reward that is trained already; empty to train one")),
    ROW("pairs", CHOICE, pairs, "all", CHOICES("all|half-a|half-b"),
        HELP("training pairs it learns from: all, or one of two halves that share no prompt")),
};
#undef OWNER

#define OWNER struct ap_judge_settings
static const struct ap_setting judge_rows[] = {
    ROW("model", TEXT, model, "", FLAGS(AP_SETTING_HARMLESS),
        HELP("which of models: replies, at temperature 0; with a url the server's name for it")),
    HTTP_ROWS(AP_SETTING_HARMLESS, AP_SETTING_HARMLESS),
    ROW("max_new_tokens", INT, max_new_tokens, "512", RANGE(1, 1e6), FLAGS(AP_SETTING_HARMLESS),
        HELP("most tokens of the model's reply: its reason and the verdict behind it")),
    ROW("command", TEXT_LIST, command, "", LIST(n_command),
        FLAGS(AP_SETTING_WHOLE | AP_SETTING_HARMLESS),
        HELP("a program that replies to JSON lines (docs/formats.md): a shell line, or its words")),
    ROW("folder", PATH, folder, "", FLAGS(AP_SETTING_HARMLESS),
        HELP("where the command works; empty for the recipe's own folder")),
    ROW("question", TEXT, question, "", FLAGS(AP_SETTING_HARMLESS),
        HELP("with {context}, {prompt}, {a}, {b} in it; empty for the built-in one")),
    ROW("timeout", REAL, timeout, "60", RANGE(1e-3, 1e6), FLAGS(AP_SETTING_HARMLESS),
        HELP("most seconds of command (its start included) or server for one reply")),
    ROW("max_bad", REAL, max_bad, "20%", RANGE(0, 1), FLAGS(AP_SETTING_SHARE | AP_SETTING_HARMLESS),
        HELP("share of pairs without a verdict above which no win rate is told")),
};
#undef OWNER

#define OWNER struct ap_data_settings
static const struct ap_setting data_rows[] = {
    ROW("path", PATH, path, "",
        HELP("data set, JSONL (.gz too) or text, for every stage without its own")),
    ROW("format", CHOICE, format, "auto",
        CHOICES("auto|ultrafeedback|ultrafeedback-binarized|pairs|sharegpt|orca|hh-rlhf|helpsteer|"
                "helpsteer2-preference|alpaca|rewrites|prompts|messages|text"),
        HELP("schema of the data set; auto: by the keys of its first record")),
    ROW("score", TEXT, score, "auto",
        HELP("helpsteer, ultrafeedback: what orders the answers; auto: helpfulness, "
             "fine-grained_score")),
    ROW("too_long", CHOICE, too_long, "skip", CHOICES("skip|truncate|error"),
        HELP("what happens to text that does not fit the context")),
    ROW("bad_lines", REAL, bad_lines, "1%", RANGE(0, 1), FLAGS(AP_SETTING_SHARE),
        HELP("share of malformed lines above which a run stops")),
    ROW("limit", INT64, limit, "0", RANGE(0, INT64_MOST), HELP("most examples read; 0 for all")),
    ROW("opening", INT, opening, "2", RANGE(1, 1000),
        HELP("format text: sentences of a document that make its prompt")),
    ROW("prefer", TEXT, prefer, "",
        HELP("format text: PCRE2 pattern that the better continuation matches")),
};
static const struct ap_setting split_rows[] = {
    ROW("train", REAL, train, "0.8", RANGE(0, 1), FLAGS(AP_SETTING_SHARE),
        HELP("share of prompts to learn from")),
    ROW("valid", REAL, valid, "0.1", RANGE(0, 1), FLAGS(AP_SETTING_SHARE),
        HELP("share of prompts for choices")),
    ROW("test", REAL, test, "0.1", RANGE(0, 1), FLAGS(AP_SETTING_SHARE),
        HELP("share of prompts for the report")),
};
#undef OWNER

#define OWNER struct ap_pretrain_settings
static const struct ap_setting pretrain_rows[] = {
    ROW("model", TEXT, model, "",
        HELP("which of models: is trained before everything; empty for none")),
    ROW("path", PATH, path, "", HELP("lines of prompt and answer")),
    ROW("epochs", INT, epochs, "1", RANGE(1, 1e6), HELP("passes over the data")),
    ROW("batch", INT, batch, "32", RANGE(1, 1e6), HELP("examples in a step")),
};
#undef OWNER

#define OWNER struct ap_sft_settings
static const struct ap_setting sft_rows[] = {
    ROW("source", CHOICE, source, "none", CHOICES("file|best-of-n|none"),
        HELP("rewrites to imitate: of a file, the best of n by reward, or none at all")),
    ROW("path", PATH, path, "", HELP("source file: lines of prompt and rewrite")),
    ROW("n", INT, n, "8", RANGE(2, 4096), HELP("best-of-n: rewrites for each prompt")),
    ROW("prompts", INT64, prompts, "0", RANGE(0, INT64_MOST),
        HELP("best-of-n: training prompts used; 0 for all")),
    ROW("epochs", INT, epochs, "2", RANGE(1, 1e6), HELP("passes over the data")),
    ROW("batch", INT, batch, "32", RANGE(1, 1e6), HELP("examples in a step")),
};
#undef OWNER

#define OWNER struct ap_reward_train_settings
static const struct ap_setting reward_train_rows[] = {
    ROW("path", PATH, path, "", HELP("preference pairs; empty for data.path")),
    ROW("epochs", INT, epochs, "1", RANGE(1, 1e6), HELP("passes over the pairs")),
    ROW("batch", INT, batch, "32", RANGE(1, 1e6), HELP("pairs in a step")),
    ROW("margin", REAL, margin, "0", RANGE(0, 100),
        HELP("margin m between the scores of a pair, math.md (9)")),
    ROW("centre", REAL, centre, "0.01", RANGE(0, 100),
        HELP("weight c that keeps rewards near 0, math.md (9)")),
};
#undef OWNER

#define OWNER struct ap_rl_settings
static const struct ap_setting rl_rows[] = {
    ROW("algorithm", CHOICE, algorithm, "rloo", CHOICES("rloo|grpo|ppo"),
        HELP("math.md (11), (12) or (10)")),
    ROW("path", PATH, path, "", HELP("prompts; empty for data.path")),
    ROW("kl", REAL, kl, "0.05", RANGE(0, 1e3),
        HELP("weight of the KL leash, lambda in math.md (2)")),
    ROW("kl_loss", CHOICE, kl_loss, "k2", CHOICES("k2|k3"),
        HELP("grpo: estimator of the KL in its loss, math.md (13)")),
    ROW("kl_target", REAL, kl_target, "0", RANGE(0, 1e6),
        HELP("KL in nats that lambda is adapted to, math.md (14); 0 leaves lambda as it is")),
    ROW("kl_horizon", REAL, kl_horizon, "10000", RANGE(1, 1e12),
        HELP("rewrites in which lambda moves by a fifth at most, math.md (14)")),
    ROW("rewrites", INT, rewrites, "4", RANGE(1, 4096),
        HELP("samples of the policy for each prompt, n in math.md (11)")),
    ROW("answers", INT, answers, "2", RANGE(1, 4096),
        HELP("answers of the target to each rewrite, K in math.md (3)")),
    ROW("prompts", INT, prompts, "32", RANGE(1, 1e6), HELP("prompts in a step")),
    ROW("steps", INT, steps, "300", RANGE(0, INT_MOST), HELP("rollout-and-update steps")),
    ROW("epochs", INT, epochs, "auto", RANGE(1, 1000), FLAGS(AP_SETTING_AUTO),
        HELP("passes over each rollout batch; auto is 4 for ppo, else 1")),
    ROW("minibatches", INT, minibatches, "1", RANGE(1, 1e6), HELP("updates in a pass")),
    ROW("clip", REAL, clip, "0.2", RANGE(1e-6, 1e3),
        HELP("clip of the probability ratio, epsilon in math.md (10)")),
    ROW("value_clip", REAL, value_clip, "0.2", RANGE(1e-6, 1e6),
        HELP("ppo: clip of the value, math.md (10)")),
    ROW("value_weight", REAL, value_weight, "0.1", RANGE(0, 1e3),
        HELP("ppo: weight of the value loss, math.md (10)")),
    ROW("entropy_weight", REAL, entropy_weight, "0", RANGE(0, 1e3),
        HELP("ppo: weight of the entropy, math.md (10)")),
    ROW("gamma", REAL, gamma, "1", RANGE(0, 1), HELP("ppo: discount, math.md (10)")),
    ROW("gae_lambda", REAL, gae_lambda, "0.95", RANGE(0, 1),
        HELP("ppo: lambda of the advantages, math.md (10)")),
    ROW("value_lr", REAL, value_lr, "auto", RANGE(1e-12, 10), FLAGS(AP_SETTING_AUTO),
        HELP("ppo: learning rate of the critic; auto is lr")),
    ROW("missing_end_penalty", REAL, missing_end_penalty, "1", RANGE(0, 1e6),
        HELP("taken from the reward without an end token, math.md (15)")),
    ROW("noise", REAL, noise, "0", RANGE(0, 1), FLAGS(AP_SETTING_SHARE),
        HELP("share of a training prompt's words that noise touches; the reward sees it without")),
    ROW("kl_stop", REAL, kl_stop, "0", RANGE(0, 1e6),
        HELP("end the stage when a step's KL passes this, in nats; 0 never")),
    ROW("seed", INT64, seed, "auto", RANGE(1, INT64_MOST), FLAGS(AP_SETTING_AUTO),
        HELP("of this stage's sampling, order, noise and critic; auto is run.seed")),
    ROW("valid_every", INT, valid_every, "0", RANGE(0, INT_MOST),
        HELP("steps between validations on prompts that training never sees; 0 never")),
    ROW("valid_path", PATH, valid_path, "",
        HELP("valid prompts of their own; empty for the valid split of the stage's prompts")),
    ROW("valid_prompts", INT, valid_prompts, "100", RANGE(1, 1e6), HELP("most valid prompts")),
    ROW("valid_judge", TEXT, valid_judge, "auto", FLAGS(AP_SETTING_AUTO),
        HELP("reward, a name of rewards, or world; auto is the first of weight 0, else reward")),
    ROW("keep", CHOICE, keep, "auto", CHOICES("last|best"), FLAGS(AP_SETTING_AUTO),
        HELP("the step that is the stage's result; auto is best where there are validations")),
    ROW("patience", INT, patience, "0", RANGE(0, INT_MOST),
        HELP("validations in a row without a better one that end the stage; 0 never")),
};
#undef OWNER

#define OWNER struct ap_rl_settings
static const struct ap_setting chain_rows[] = {
    ROW("prompters", CHOICE, prompters, "in-turn", CHOICES("in-turn|joint"),
        HELP("how a list of prompters learns: each after those before it, or all together")),
};
#undef OWNER

#define OWNER struct ap_dpo_settings
static const struct ap_setting dpo_rows[] = {
    ROW("path", PATH, path, "", HELP("preference pairs; empty for data.path")),
    ROW("epochs", INT, epochs, "1", RANGE(1, 1e6), HELP("passes over the pairs")),
    ROW("batch", INT, batch, "32", RANGE(1, 1e6), HELP("pairs in a step")),
    ROW("beta", REAL, beta, "0.1", RANGE(1e-6, 1e3),
        HELP("scale of the log-ratios, math.md (20): the larger, the closer to the start")),
    ROW("label_smoothing", REAL, label_smoothing, "0", RANGE(0, 0.5),
        HELP("share of pairs that are taken to be the wrong way round")),
    ROW("nll_weight", REAL, nll_weight, "0", RANGE(0, 100),
        HELP("weight of the chosen answers' own loss a token, beside the pairs'")),
};
#undef OWNER

#define OWNER struct ap_ift_settings
static const struct ap_setting ift_rows[] = {
    ROW("path", PATH, path, "",
        HELP("prompts with answers, or pairs, of which the chosen; empty for data.path")),
    ROW("epochs", INT, epochs, "1", RANGE(1, 1e6), HELP("passes over the data")),
    ROW("batch", INT, batch, "32", RANGE(1, 1e6), HELP("examples in a step")),
    ROW("eta", REAL, eta, "0.2", RANGE(0, 1),
        HELP("share of the model's own guess in an answer's inputs, math.md (21)")),
    ROW("g", REAL, g, "0.95", RANGE(0, 1),
        HELP("how far a token answers for those after it, math.md (21); 0: for itself alone")),
};
#undef OWNER

#define OWNER struct ap_eval_settings
/* None of them changes what was trained: a run whose eval.* changed only evaluates again. */
static const struct ap_setting eval_rows[] = {
    ROW("arms", CHOICE_LIST, arms, "bare,sft,align", LIST(n_all_arms),
        CHOICES("bare|instruct|sft|align-1|align-2|align-3|align|rlhf|dpo|ift|best-of-n|"
                "best-of-n-answers"),
        FLAGS(AP_SETTING_HARMLESS), HELP("what is compared, math.md (16)-(22)")),
    ROW("seeds", INT64_LIST, seeds, "1", LIST(n_seeds), RANGE(0, INT64_MOST),
        FLAGS(AP_SETTING_HARMLESS), HELP("sampling seeds, the same for every arm")),
    ROW("judges", TEXT_LIST, judges, "reward", LIST(n_judges), FLAGS(AP_SETTING_HARMLESS),
        HELP("who judges: reward, a name of rewards, world; behind those names of judges")),
    ROW("n", INT, n, "8", RANGE(2, 4096), FLAGS(AP_SETTING_HARMLESS),
        HELP("rewrites of best-of-n, answers of best-of-n-answers")),
    ROW("prompts", INT64, prompts, "0", RANGE(0, INT64_MOST), FLAGS(AP_SETTING_HARMLESS),
        HELP("most test prompts; 0 for all")),
    ROW("bootstrap", INT, bootstrap, "2000", RANGE(1, 1e5), FLAGS(AP_SETTING_HARMLESS),
        HELP("resamples behind the 95% intervals")),
    ROW("path", PATH, path, "", FLAGS(AP_SETTING_HARMLESS),
        HELP("test prompts of their own; empty for the test split of data.path")),
    ROW("temperature", REAL, temperature, "1", RANGE(0, 100), FLAGS(AP_SETTING_HARMLESS),
        HELP("of the prompter in eval; 0 takes the likeliest token")),
    ROW("noise", REAL_LIST, noise, "", LIST(n_noise), RANGE(0, 1),
        FLAGS(AP_SETTING_SHARE | AP_SETTING_HARMLESS),
        HELP("strengths of noise in the prompts at which every arm is evaluated, too")),
};
#undef OWNER

#define OWNER struct ap_bound_settings
/* As eval's: those that change the samples make new ones. */
static const struct ap_setting bound_rows[] = {
    ROW("prompts", INT64, prompts, "50", RANGE(0, INT64_MOST), FLAGS(AP_SETTING_HARMLESS),
        HELP("most test prompts (those of eval); 0 for all")),
    ROW("rewrites", INT, rewrites, "8", RANGE(1, 4096), FLAGS(AP_SETTING_HARMLESS),
        HELP("rewrites of each prompt before alignment, n in math.md (5); as many after it")),
    ROW("answers", INT, answers, "16", RANGE(2, 4096), FLAGS(AP_SETTING_HARMLESS),
        HELP("answers to each rewrite, K in math.md (5)")),
    ROW("scored", INT, scored, "4", RANGE(1, 4096), FLAGS(AP_SETTING_HARMLESS),
        HELP("answers to each rewrite whose log-probabilities are taken, math.md (7)")),
    ROW("kl", REAL, kl, "auto", RANGE(0, 1e3), FLAGS(AP_SETTING_AUTO | AP_SETTING_HARMLESS),
        HELP("weight of the KL leash, lambda in math.md (5); auto is align.kl")),
    ROW("seed", INT64, seed, "1", RANGE(0, INT64_MOST), FLAGS(AP_SETTING_HARMLESS),
        HELP("sampling seed")),
    ROW("bootstrap", INT, bootstrap, "2000", RANGE(1, 1e5), FLAGS(AP_SETTING_HARMLESS),
        HELP("resamples behind the 95% intervals")),
};
#undef OWNER

#define OWNER struct ap_guard_settings
/* Of rewriting and eval only: training is never guarded. */
static const struct ap_setting guard_rows[] = {
    ROW("protect", CHOICE_LIST, protect, "", LIST(n_protect),
        CHOICES("code|quote|url|number|bracket"), FLAGS(AP_SETTING_HARMLESS),
        HELP("what of a prompt must be in its rewrite: code, quotations, URLs, numbers, [[...]]")),
    ROW("similarity", REAL, similarity, "0", RANGE(0, 1), FLAGS(AP_SETTING_HARMLESS),
        HELP("least likeness of prompt and rewrite, by their character trigrams; 0 for none")),
    ROW("max_growth", REAL, max_growth, "0", RANGE(0, 1e6), FLAGS(AP_SETTING_HARMLESS),
        HELP("most characters of a rewrite, as a multiple of the prompt's; 0 for none")),
    ROW("max_length", INT, max_length, "0", RANGE(0, INT_MOST), FLAGS(AP_SETTING_HARMLESS),
        HELP("most characters of a rewrite; 0 for none")),
};
#undef OWNER

#define OWNER struct ap_monitor_settings
/* In the order of ap_monitor. A stop changes what is learned: these are in the fingerprint. */
static const struct ap_setting monitor_rows[] = {
    ROW("repetition", REAL_LIST, limits[AP_MONITOR_REPETITION].value, "",
        LIST(limits[AP_MONITOR_REPETITION].n), RANGE(0, 1), FLAGS(AP_SETTING_SHARE),
        HELP("share of an answer's word triples that stood in it before: [warn, stop]")),
    ROW("missing_end", REAL_LIST, limits[AP_MONITOR_MISSING_END].value, "",
        LIST(limits[AP_MONITOR_MISSING_END].n), RANGE(0, 1), FLAGS(AP_SETTING_SHARE),
        HELP("share of what the policy writes without an end token: [warn, stop]")),
    ROW("copy", REAL_LIST, limits[AP_MONITOR_COPY].value, "", LIST(limits[AP_MONITOR_COPY].n),
        RANGE(0, 1), FLAGS(AP_SETTING_SHARE),
        HELP("share of a prompt's words that its rewrite has: [warn, stop]")),
    ROW("drift", REAL_LIST, limits[AP_MONITOR_DRIFT].value, "", LIST(limits[AP_MONITOR_DRIFT].n),
        RANGE(0, 1), FLAGS(AP_SETTING_SHARE),
        HELP("1 - likeness of prompt and rewrite, by character trigrams: [warn, stop]")),
    ROW("rewrite_length", REAL_LIST, limits[AP_MONITOR_REWRITE_LENGTH].value, "",
        LIST(limits[AP_MONITOR_REWRITE_LENGTH].n), RANGE(0, 1e9),
        HELP("mean tokens of a rewrite: [warn, stop]")),
    ROW("answer_length", REAL_LIST, limits[AP_MONITOR_ANSWER_LENGTH].value, "",
        LIST(limits[AP_MONITOR_ANSWER_LENGTH].n), RANGE(0, 1e9),
        HELP("mean tokens of an answer: [warn, stop]")),
    ROW("gap", REAL_LIST, limits[AP_MONITOR_GAP].value, "", LIST(limits[AP_MONITOR_GAP].n),
        RANGE(0, 1e9),
        HELP("growth of reward over valid_judge on valid prompts since the first: [warn, stop]")),
};
#undef OWNER

#define OWNER struct ap_label_settings
static const struct ap_setting label_rows[] = {
    ROW("data", TEXT, data, "auto", FLAGS(AP_SETTING_AUTO | AP_SETTING_HARMLESS),
        HELP("name of the data set in a comparison of runs; auto is the name of data.path")),
    ROW("prompter", TEXT, prompter, "auto", FLAGS(AP_SETTING_AUTO | AP_SETTING_HARMLESS),
        HELP("name of the prompter there; auto is prompter.model")),
    ROW("target", TEXT, target, "auto", FLAGS(AP_SETTING_AUTO | AP_SETTING_HARMLESS),
        HELP("name of the target there; auto is target.model")),
};
#undef OWNER

#define OWNER struct ap_settings
static const struct ap_setting text_rows[] = {
    ROW("template", TEXT, template_name, "auto",
        HELP("chat template: auto is the model's own, plain where it has none")),
    ROW("date", TEXT, date, "26 Jul 2024", HELP("date that a template prints; never the clock")),
    ROW("special_in_content", CHOICE, special_in_content, "markup", CHOICES("markup|text"),
        HELP("a special token spelled in a message: markup parses it, as transformers does; text "
             "keeps it text")),
};
#undef OWNER

#define OWNER struct ap_settings
static const struct ap_setting ledger_rows[] = {
    ROW("path", PATH, ledger, "", FLAGS(AP_SETTING_HARMLESS),
        HELP("file that keeps every answer bought over HTTP; runs may share it; empty: run.db")),
};
#undef OWNER

#define OWNER struct ap_run_settings
static const struct ap_setting run_rows[] = {
    ROW("dir", PATH, dir, "", FLAGS(AP_SETTING_HARMLESS),
        HELP("folder of the run's results (required)")),
    ROW("seed", INT64, seed, "1", RANGE(0, INT64_MOST), HELP("seed of every random number")),
    ROW("threads", INT, threads, "0", RANGE(0, 4096), FLAGS(AP_SETTING_HARMLESS),
        HELP("threads; 0 for as many as there are processors")),
    ROW("dtype", CHOICE, dtype, "f32", CHOICES("f32|bf16"),
        HELP("type of the models' products; bf16 takes half the memory for a frozen model")),
    ROW("context", INT, context, "auto", RANGE(1, INT_MOST), FLAGS(AP_SETTING_AUTO),
        HELP("most tokens of a sequence; auto is what the model was made for")),
    ROW("checkpoint_every", INT, checkpoint_every, "50", RANGE(1, INT_MOST),
        FLAGS(AP_SETTING_HARMLESS), HELP("steps between checkpoints")),
    ROW("max_bad_steps", INT, max_bad_steps, "5", RANGE(1, INT_MOST), FLAGS(AP_SETTING_HARMLESS),
        HELP("steps in a row with NaN or Inf that stop a run")),
    ROW("batch", INT, batch, "64", RANGE(1, 1e6), FLAGS(AP_SETTING_HARMLESS),
        HELP("sequences decoded at once; less memory, the same tokens")),
    ROW("tensorboard", BOOL, tensorboard, "true", FLAGS(AP_SETTING_HARMLESS),
        HELP("write the metrics as TensorBoard's event files, too, in tb/ of the run directory")),
    ROW("from", PATH_LIST, from, "", LIST(n_from), FLAGS(AP_SETTING_HARMLESS),
        HELP(
            "run directories whose stages are taken over where all that reaches them is the same")),
    ROW("memory", INT64, memory, "auto", RANGE(1 << 20, INT64_MOST),
        FLAGS(AP_SETTING_AUTO | AP_SETTING_SIZE | AP_SETTING_HARMLESS),
        HELP("most memory that a run may plan for; auto is what the machine has; --dry-run takes "
             "more")),
};
#undef OWNER

#define ROWS(rows_) .rows = (rows_), .n = AP_LEN(rows_)
#define AT(member) .base = offsetof(struct ap_settings, member)

static const struct ap_named_section named[] = {
    {"models", offsetof(struct ap_settings, models), sizeof(struct ap_model_settings),
     offsetof(struct ap_settings, n_models), offsetof(struct ap_model_settings, name),
     AP_MODELS_MAX, 64, false},
    {"rewards", offsetof(struct ap_settings, rewards), sizeof(struct ap_reward_settings),
     offsetof(struct ap_settings, n_rewards), offsetof(struct ap_reward_settings, name),
     AP_REWARDS_MAX, 24, false}, /* a stage and a judge are called by it */
    {"prompter", offsetof(struct ap_settings, prompters), sizeof(struct ap_prompter_settings),
     offsetof(struct ap_settings, n_prompters), offsetof(struct ap_prompter_settings, name),
     AP_PROMPTERS_MAX, 1, true},
    {"judges", offsetof(struct ap_settings, judges), sizeof(struct ap_judge_settings),
     offsetof(struct ap_settings, n_judges), offsetof(struct ap_judge_settings, name),
     AP_PAIRWISE_MAX, 24, false},
};

static const struct ap_setting_group groups[] = {
    {.prefix = "models.NAME",
     .help = "models by a name of your choice",
     ROWS(model_rows),
     .named = &named[0]},
    {.prefix = "rewards.NAME",
     .help = "in place of reward: several by a name of your choice, whose weighted sum is the one",
     ROWS(reward_rows),
     .named = &named[1]},
    {.prefix = "rewards.NAME.adapter",
     .help = "its LoRA adapter, or none",
     ROWS(adapter_rows),
     .base = offsetof(struct ap_reward_settings, adapter),
     .named = &named[1],
     .none = true},
    {.prefix = "rewards.NAME.budget",
     .help = "what may be bought of its server",
     ROWS(budget_rows),
     .base = offsetof(struct ap_reward_settings, http.budget),
     .named = &named[1]},
    {.prefix = "prompter.NAME",
     .help = "of a list of prompters, which rewrite one after another; NAME counts them from 1",
     ROWS(prompter_rows),
     .named = &named[2]},
    {.prefix = "prompter.NAME.adapter",
     .help = "its LoRA adapter, or none",
     ROWS(adapter_rows),
     .base = offsetof(struct ap_prompter_settings, adapter),
     .named = &named[2],
     .none = true},
    {.prefix = "judges.NAME",
     .help = "judges that compare an arm's answers with another's, by a name of your choice",
     ROWS(judge_rows),
     .named = &named[3]},
    {.prefix = "judges.NAME.budget",
     .help = "what may be bought of its server",
     ROWS(budget_rows),
     .base = offsetof(struct ap_judge_settings, http.budget),
     .named = &named[3]},
    {.prefix = "prompter",
     .help = "the model that rewrites",
     ROWS(prompter_rows),
     AT(prompter),
     .optional = true},
    {.prefix = "prompter.adapter",
     .help = "its LoRA adapter, or none",
     ROWS(adapter_rows),
     AT(prompter.adapter),
     .optional = true,
     .none = true},
    {.prefix = "target",
     .help = "the frozen model that answers: one of models, or a server",
     ROWS(target_rows),
     AT(target),
     .optional = true},
    {.prefix = "target.budget",
     .help = "what may be bought of its server",
     ROWS(budget_rows),
     AT(target.http.budget),
     .optional = true},
    {.prefix = "target.adapter",
     .help = "its LoRA adapter in rlhf, dpo and ift, or none",
     ROWS(adapter_rows),
     AT(target.adapter),
     .optional = true,
     .none = true},
    {.prefix = "reward",
     .help = "what answers are scored by",
     ROWS(reward_rows),
     AT(reward),
     .optional = true},
    {.prefix = "reward.adapter",
     .help = "its LoRA adapter, or none",
     ROWS(adapter_rows),
     AT(reward.adapter),
     .optional = true,
     .none = true},
    {.prefix = "reward.budget",
     .help = "what may be bought of its server",
     ROWS(budget_rows),
     AT(reward.http.budget),
     .optional = true},
    {.prefix = "data", .help = "the data set", ROWS(data_rows), AT(data)},
    {.prefix = "data.split",
     .help = "shares by hash of the prompt; they sum to 1",
     ROWS(split_rows),
     AT(data)},
    {.prefix = "pretrain",
     .help = "supervised training before everything else",
     ROWS(pretrain_rows),
     AT(pretrain),
     .optional = true},
    {.prefix = "pretrain", ROWS(optimiser_rows), AT(pretrain.optimiser), .optional = true},
    {.prefix = "sft",
     .help = "supervised training of the prompter, math.md (8)",
     ROWS(sft_rows),
     AT(sft),
     .optional = true},
    {.prefix = "sft", ROWS(optimiser_rows), AT(sft.optimiser), .optional = true},
    {.prefix = "reward_train",
     .help = "training of the reward model, math.md (9)",
     ROWS(reward_train_rows),
     AT(reward_train),
     .optional = true},
    {.prefix = "reward_train", ROWS(optimiser_rows), AT(reward_train.optimiser), .optional = true},
    {.prefix = "align",
     .help = "reinforcement learning of the prompter",
     ROWS(rl_rows),
     AT(align),
     .optional = true},
    {.prefix = "align", ROWS(chain_rows), AT(align), .optional = true},
    {.prefix = "align", ROWS(optimiser_rows), AT(align.optimiser), .optional = true},
    {.prefix = "rlhf",
     .help = "the same on the target, for comparison; missing keys are taken from align",
     ROWS(rl_rows),
     AT(rlhf),
     .optional = true,
     .inherits = "align"},
    {.prefix = "rlhf",
     ROWS(optimiser_rows),
     AT(rlhf.optimiser),
     .optional = true,
     .inherits = "align"},
    {.prefix = "dpo",
     .help = "the target learns from preference pairs, for comparison, math.md (20)",
     ROWS(dpo_rows),
     AT(dpo),
     .optional = true},
    {.prefix = "dpo", ROWS(optimiser_rows), AT(dpo.optimiser), .optional = true},
    {.prefix = "ift",
     .help = "the target learns from answers by intuitive fine-tuning, math.md (21)",
     ROWS(ift_rows),
     AT(ift),
     .optional = true},
    {.prefix = "ift", ROWS(optimiser_rows), AT(ift.optimiser), .optional = true},
    {.prefix = "eval",
     .help = "the comparison of arms",
     ROWS(eval_rows),
     AT(eval),
     .optional = true},
    {.prefix = "bound",
     .help = "how far prompting can get, math.md (5)-(7)",
     ROWS(bound_rows),
     AT(bound),
     .optional = true},
    {.prefix = "guard",
     .help = "when a rewrite is not used: the target then gets the prompt as it is",
     ROWS(guard_rows),
     AT(guard),
     .optional = true},
    {.prefix = "monitor",
     .help = "numbers that tell of reward hacking, at which align and rlhf warn and stop",
     ROWS(monitor_rows),
     AT(monitor),
     .optional = true},
    {.prefix = "label",
     .help = "which cell of a comparison the run belongs to: alignpro report --compare",
     ROWS(label_rows),
     AT(label),
     .optional = true},
    {.prefix = "text", .help = "how chats become text", ROWS(text_rows), .base = 0},
    {.prefix = "ledger",
     .help = "where answers bought over HTTP are kept; or that file in its place",
     ROWS(ledger_rows),
     .base = 0,
     .value = true},
    {.prefix = "run", .help = "the run itself", ROWS(run_rows), AT(run)},
};
_Static_assert(AP_LEN(groups) <= AP_GROUPS_MAX, "AP_GROUPS_MAX");
_Static_assert(AP_LEN(model_rows) + AP_LEN(reward_rows) + AP_LEN(prompter_rows) +
                       2 * AP_LEN(adapter_rows) + AP_LEN(judge_rows) + 2 * AP_LEN(budget_rows) <=
                   AP_NAMED_KEYS_MAX,
               "AP_NAMED_KEYS_MAX");
_Static_assert(AP_MODELS_MAX <= AP_NAMED_ITEMS_MAX && AP_REWARDS_MAX <= AP_NAMED_ITEMS_MAX,
               "AP_NAMED_ITEMS_MAX");

_Static_assert(AP_LEN(monitor_rows) == AP_MONITOR_COUNT, "a row for each monitor, in their order");

const char *ap_monitor_name(ap_monitor monitor)
{
    return monitor_rows[monitor].key;
}

const struct ap_setting_group *ap_setting_groups(size_t *n)
{
    *n = AP_LEN(groups);
    return groups;
}

const struct ap_named_section *ap_named_sections(size_t *n)
{
    *n = AP_LEN(named);
    return named;
}
