/* The recipe as C values. Filled by recipe.c from YAML through one table of keys
 * (settings_table.c): key, type, range, default, help. Strings are owned by the recipe and never
 * NULL unless said. */
#ifndef AP_STORE_SETTINGS_H
#define AP_STORE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#define AP_MODELS_MAX 16
#define AP_REWARDS_MAX 8
#define AP_PROMPTERS_MAX 4
#define AP_LIST_MAX 32
#define AP_PAIRWISE_MAX 8

struct ap_model_settings {
    char *name;      /* the key under models: */
    char *path;      /* Hugging Face folder; "" when made from config */
    char *config;    /* config.json to start from with random weights; "" when path is given */
    char *tokenizer; /* folder of tokenizer.json; "" for the model's own folder */
    char *init;      /* "random" with config, else "" */
};

struct ap_adapter_settings {
    int rank; /* 0: no adapter, the whole model trains */
    double alpha;
    char *targets; /* "all-linear" or names separated by commas */
    bool rslora;
    double dropout; /* of inputs in supervised training, [0, 1) */
};

struct ap_optimiser_settings {
    double lr;
    char *schedule; /* constant | cosine | linear */
    double warmup;  /* share of the steps in [0, 1] */
    double lr_end;  /* last lr as a share of lr (cosine, linear) */
    double beta1, beta2, eps, weight_decay;
    double clip;      /* global gradient norm; 0 for none */
    int batch_tokens; /* most tokens in one micro-batch */
    bool gradient_checkpointing;
};

struct ap_prompter_settings {
    char *name; /* "1", "2" … of a list; NULL for the one of prompter: */
    char *model;
    struct ap_adapter_settings adapter;
    char *meta_prompt; /* "default", or a text */
    int max_new_tokens;
    double temperature;
};

/* What a run may buy of one server; 0: no limit. Prices are in a currency of the user's. */
struct ap_budget_settings {
    int64_t requests, tokens;
    double usd;
    double price_in, price_out; /* of a million tokens read and written */
};

/* A server of models that is asked over HTTP (net/client.h). */
struct ap_http_settings {
    char *url[AP_LIST_MAX]; /* base addresses of the same model */
    int n_url;              /* 0: nobody is asked over HTTP */
    char *key_env, *key_file;
    char *ca_file;   /* certificates to trust; "": the system's */
    int concurrency; /* requests in flight at each address */
    double rpm, tpm; /* 0: no limit */
    int retries;
    char *body; /* a JSON object put into every request; "" for none */
    struct ap_budget_settings budget;
};

struct ap_target_settings {
    char *kind;  /* local | http */
    char *model; /* of models; http: the server's name for it */
    struct ap_http_settings http;
    double timeout; /* http: seconds of one attempt */
    char *api;      /* http: chat | completions */
    char *name;     /* http: whose answers they are in the ledger; auto: the first url */
    int together;   /* http: answers to one prompt asked for in one request */
    bool logprobs;  /* http: the server says those of what it reads; for bound */
    char *refusal;  /* http: a refusal's score; "scored": the reward scores its text */
    struct ap_adapter_settings adapter; /* for rlhf, dpo, ift */
    int max_new_tokens;
    double temperature, top_p, min_p, repetition_penalty;
    int top_k;
    char *stop[AP_LIST_MAX]; /* stop strings */
    int n_stop;
};

struct ap_reward_settings {
    char *name;  /* the key under rewards:; NULL for the one of reward: */
    char *model; /* "" with a rule or a command; http: the server's name for it */
    struct ap_adapter_settings adapter;
    char *kind; /* classifier | implicit | rule | command | http */
    struct ap_http_settings http;
    char *shape;                /* http: scalar | classify | pooling */
    double beta;                /* implicit, math.md (9a) */
    double floor;               /* ε of (9a) */
    char *rule;                 /* length | regex | match */
    char *pattern;              /* regex: PCRE2; match: exact text */
    double length;              /* length: wanted number of characters */
    char *command[AP_LIST_MAX]; /* one text: a line for the shell; several: program, arguments */
    int n_command;
    char *folder;   /* where the command works; absolute */
    double timeout; /* most seconds that it is silent with questions open */
    double weight;  /* in the sum of rewards */
    bool normalise; /* fix gain and bias on the target's bare answers, math.md (9) */
    char *trained;  /* folder of a reward that is trained already; "" to train one */
    char *pairs;    /* all | half-a | half-b: of the training pairs, by hash of the prompt */
};

/* A judge that compares two answers (align/judge_pairs.h). */
struct ap_judge_settings {
    char *name;  /* the key under judges: */
    char *model; /* which of models: compares; with a url the server's name for
                    it; "": the command does */
    struct ap_http_settings http;
    int max_new_tokens;         /* of the model's reply */
    char *command[AP_LIST_MAX]; /* as a reward's */
    int n_command;
    char *folder;   /* where the command works; absolute */
    char *question; /* "" for the built-in one */
    double timeout; /* most seconds that it is silent with questions open */
    double max_bad; /* most share of pairs without a verdict that leaves a win rate */
};

struct ap_data_settings {
    char *path, *format, *score;
    double train, valid, test;
    char *too_long; /* skip | truncate | error */
    double bad_lines;
    int64_t limit;
    int opening;
    char *prefer;
};

/* Supervised training of a model from {prompt, answer} lines before anything else. */
struct ap_pretrain_settings {
    char *model; /* "" for none; which of models: */
    char *path;
    int epochs, batch;
    struct ap_optimiser_settings optimiser;
};

struct ap_sft_settings {
    char *source; /* file | best-of-n | none */
    char *path;
    int n;           /* best-of-n */
    int64_t prompts; /* best-of-n: how many training prompts; 0 for all */
    int epochs, batch;
    struct ap_optimiser_settings optimiser;
};

struct ap_reward_train_settings {
    char *path; /* "" for data.path */
    int epochs, batch;
    double margin, centre;
    struct ap_optimiser_settings optimiser;
};

struct ap_rl_settings {
    char *algorithm;              /* rloo | grpo | ppo */
    char *prompters;              /* in-turn | joint: how a list of prompters learns; not of rlhf */
    char *path;                   /* prompts; "" for data.path */
    double kl;                    /* λ, the first one where it adapts */
    char *kl_loss;                /* grpo: k2 | k3, math.md (13) */
    double kl_target, kl_horizon; /* math.md (14); a target of 0: λ stays */
    int rewrites, answers, prompts, steps;
    int epochs, minibatches;
    double clip, value_clip, value_weight, entropy_weight, gamma, gae_lambda;
    double value_lr;
    double missing_end_penalty;
    double noise;   /* of the prompts that the policy sees; the reward sees x */
    double kl_stop; /* stop the stage when a step's KL passes it; 0 never */
    int64_t seed;   /* of the stage's streams; 0: run.seed */
    /* validation */
    int valid_every;   /* steps; 0: never */
    char *valid_path;  /* "": the valid split of the stage's own prompts */
    int valid_prompts; /* at most */
    char *valid_judge; /* "": the first reward of weight 0, or the reward itself */
    char *keep;        /* last | best */
    int patience;      /* validations in a row without a better one that end the stage; 0 never */
    struct ap_optimiser_settings optimiser;
};

/* Of the target, on preference pairs: math.md (20). */
struct ap_dpo_settings {
    char *path; /* "" for data.path */
    int epochs, batch;
    double beta, label_smoothing, nll_weight;
    struct ap_optimiser_settings optimiser;
};

/* Of the target, on prompts with answers: math.md (21). */
struct ap_ift_settings {
    char *path; /* "" for data.path */
    int epochs, batch;
    double eta, g;
    struct ap_optimiser_settings optimiser;
};

struct ap_eval_settings {
    char *arms[AP_LIST_MAX];
    int n_arms;     /* the first so many are run; */
    int n_all_arms; /* those behind train the target, which over HTTP is not ours: n/a */
    int64_t seeds[AP_LIST_MAX];
    int n_seeds;
    char *judges[AP_LIST_MAX]; /* reward, a name of rewards, or world; behind those of judges */
    int n_judges;
    int n;                     /* best-of-n */
    int64_t prompts;           /* most test prompts; 0 for all */
    int bootstrap;             /* resamples */
    char *path;                /* a test file of its own; "" for data.path's test split */
    double temperature;        /* of the prompter in eval */
    double noise[AP_LIST_MAX]; /* strengths at which every arm is evaluated, too */
    int n_noise;
};

/* How far prompting can get (eval/bound.h), on the test prompts of eval. */
struct ap_bound_settings {
    int64_t prompts;       /* most test prompts; 0 for all */
    int rewrites, answers; /* n of each prompt, K ≥ 2 of each rewrite */
    int scored;            /* of the K, those whose log-probabilities are taken */
    double kl;             /* λ */
    int64_t seed;
    int bootstrap;
};

/* When a rewrite is not used (align/guard.h). */
struct ap_guard_settings {
    char *protect[AP_LIST_MAX]; /* code, quote, url, number, bracket */
    int n_protect;
    double similarity; /* floor in [0, 1]; 0 for none */
    double max_growth; /* most times x's characters; 0 for none */
    int max_length;    /* most characters; 0 for none */
};

/* Numbers that tell of reward hacking (align/monitor.h). */
typedef enum ap_monitor {
    AP_MONITOR_REPETITION,
    AP_MONITOR_MISSING_END,
    AP_MONITOR_COPY,
    AP_MONITOR_DRIFT,
    AP_MONITOR_REWRITE_LENGTH,
    AP_MONITOR_ANSWER_LENGTH,
    AP_MONITOR_GAP,
    AP_MONITOR_COUNT,
} ap_monitor;
/* "repetition" … "gap": its key under monitor: and its metric. */
const char *ap_monitor_name(ap_monitor monitor);

struct ap_monitor_settings {
    struct ap_monitor_limits {
        double value[AP_LIST_MAX]; /* warn, stop */
        int n;                     /* 0: only recorded; at most 2 */
    } limits[AP_MONITOR_COUNT];
};

/* The cell of a comparison of runs that a run belongs to. */
struct ap_label_settings {
    char *data, *prompter, *target;
};

struct ap_run_settings {
    char *dir;
    int64_t seed;
    int threads; /* 0: as many as there are processors */
    char *dtype; /* f32 | bf16 */
    int context; /* 0: auto */
    int checkpoint_every;
    int max_bad_steps;       /* NaN or Inf steps in a row that stop a run */
    int batch;               /* sequences decoded at once */
    bool tensorboard;        /* event files beside run.db */
    char *from[AP_LIST_MAX]; /* run directories whose finished stages are taken over */
    int n_from;
    int64_t memory; /* bytes that the process may have at its peak; 0: what the machine has */
};

struct ap_settings {
    struct ap_model_settings models[AP_MODELS_MAX];
    int n_models;
    struct ap_prompter_settings prompter; /* the first of several, too */
    struct ap_prompter_settings prompters[AP_PROMPTERS_MAX];
    int n_prompters; /* 0: `prompter` it is; ap_settings_prompters looks at both */
    struct ap_target_settings target;
    struct ap_reward_settings reward; /* when there is but one */
    struct ap_reward_settings rewards[AP_REWARDS_MAX];
    int n_rewards; /* 0: `reward` it is; ap_settings_rewards looks at both */
    struct ap_judge_settings judges[AP_PAIRWISE_MAX];
    int n_judges;
    struct ap_data_settings data;
    struct ap_pretrain_settings pretrain;
    struct ap_sft_settings sft;
    struct ap_reward_train_settings reward_train;
    struct ap_rl_settings align, rlhf;
    struct ap_dpo_settings dpo;
    struct ap_ift_settings ift;
    bool has_rlhf, has_dpo, has_ift, has_bound; /* the recipe has that section */
    struct ap_eval_settings eval;
    struct ap_bound_settings bound;
    struct ap_guard_settings guard;
    struct ap_monitor_settings monitor;
    struct ap_label_settings label;
    char *template_name, *date, *special_in_content; /* text: */
    char *ledger;                                    /* a file; "": the run's own run.db */
    struct ap_run_settings run;
};

#endif
