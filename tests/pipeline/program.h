/* Running the program itself on a tiny recipe in a folder of the test's own: two layers of random
 * weights, a few dozen lines of data, every stage in a fraction of a second. */
#ifndef AP_TESTS_PIPELINE_PROGRAM_H
#define AP_TESTS_PIPELINE_PROGRAM_H

#include "base/file.h"
#include "base/memory.h"
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { PROGRAM_ARGS = 24 };

/* -- a folder -- */

/* In memory where there is such a file system: thousands of fsyncs are not what is tested. */
static inline int program_setup(void **state)
{
    char path[] = "/dev/shm/alignpro-test-XXXXXX", disk[] = "/tmp/alignpro-test-XXXXXX";
    char *made = access("/dev/shm", W_OK) == 0 ? mkdtemp(path) : NULL;
    if (!made)
        made = mkdtemp(disk);
    *state = made ? ap_strdup(made) : NULL;
    return *state ? 0 : -1;
}

static inline int program_teardown(void **state)
{
    ap_status status = ap_dir_remove(*state, NULL);
    ap_free(*state);
    return status == AP_OK ? 0 : -1;
}

/* FOLDER/NAME in one of a few static buffers. */
static inline const char *in_folder(const char *folder, const char *name)
{
    static char path[8][512];
    static int turn;
    char *out = path[turn++ % 8];
    size_t n = strlen(folder), n_name = strlen(name);
    assert_true(n + n_name + 2 <= sizeof(path[0]));
    memmove(out, folder, n);
    out[n] = '/';
    memcpy(out + n + 1, name, n_name + 1);
    return out;
}

static inline void put_text(const char *folder, const char *name, const char *text)
{
    struct ap_error err;
    check_ok(ap_file_write(in_folder(folder, name), text, strlen(text), &err), err);
}

/* Whole file; freed by the caller. */
static inline struct ap_buffer get_file(const char *path)
{
    struct ap_error err;
    struct ap_buffer text = {0};
    check_ok(ap_file_read(path, 1 << 26, &text, &err), err);
    return text;
}

/* What stands in a file, and more behind it. */
static inline void add_text(const char *folder, const char *name, const char *more)
{
    char path[700];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    fputs(more, f);
    fclose(f);
}

static inline void check_same_file(const char *a, const char *b)
{
    struct ap_buffer x = get_file(a), y = get_file(b);
    if (x.len != y.len || memcmp(x.data, y.data, x.len) != 0) {
        fprintf(stderr, "%s and %s differ\n", a, b);
        fail();
    }
    ap_buffer_free(&x);
    ap_buffer_free(&y);
}

/* -- data and recipe -- */

static inline void put_data(const char *folder)
{
    static const char *const animals[] = {"otter", "fox", "bear", "wolf", "deer", "goat", "duck"};
    struct ap_buffer corpus = {0}, pairs = {0}, rewrites = {0};
    struct ap_error err;
    for (int i = 0; i < 40; i++) {
        const char *a = animals[i % 7];
        check_ok(ap_buffer_printf(&corpus, &err,
                                  "{\"prompt\": \"about the %s %d\", \"response\": \"A %s.\"}\n", a,
                                  i, a),
                 err);
        check_ok(ap_buffer_printf(&pairs, &err,
                                  "{\"prompt\": \"about the %s %d\", \"chosen\": \"A %s.\", "
                                  "\"rejected\": \"No %d\"}\n",
                                  a, i, a, i),
                 err);
        check_ok(ap_buffer_printf(&rewrites, &err,
                                  "{\"prompt\": \"about the %s %d\", \"rewrite\": \"the %s\"}\n", a,
                                  i, a),
                 err);
    }
    put_text(folder, "corpus.jsonl", corpus.data);
    put_text(folder, "pairs.jsonl", pairs.data);
    put_text(folder, "rewrites.jsonl", rewrites.data);
    ap_buffer_free(&corpus);
    ap_buffer_free(&pairs);
    ap_buffer_free(&rewrites);
}

static inline void put_config(const char *folder, const char *name, const char *initializer_range)
{
    char text[1024];
    snprintf(text, sizeof(text),
             "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
             "\"vocab_size\": 600, \"hidden_size\": 32, \"num_hidden_layers\": 2, "
             "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 8, "
             "\"intermediate_size\": 48, \"hidden_act\": \"silu\", "
             "\"max_position_embeddings\": 128, \"rope_theta\": 10000.0, \"rms_norm_eps\": 1e-05, "
             "\"initializer_range\": %s, \"tie_word_embeddings\": true, \"bos_token_id\": 0, "
             "\"eos_token_id\": 1, \"torch_dtype\": \"float32\"}\n",
             initializer_range);
    put_text(folder, name, text);
}

struct tiny_recipe {
    const char *algorithm; /* "rloo" */
    const char *adapter;   /* "{rank: 4}" or "none" */
    const char *reward; /* "model: target, adapter: none, kind: implicit" or "rule: …"; or all of
                           a section, "rewards: {…}" */
    const char *sft;    /* "source: file, path: rewrites.jsonl" */
    const char *arms;
    int steps;            /* of align */
    const char *more;     /* sections */
    const char *prompter; /* the section; NULL: one, with the adapter */
};

static const struct tiny_recipe tiny_recipe_default = {
    "rloo",
    "{rank: 4}",
    "model: target, adapter: {rank: 4}",
    "source: file, path: rewrites.jsonl",
    "bare, instruct, sft, align, rlhf, best-of-n",
    5,
    "",
    NULL};

/* With every arm there is, and GRPO. */
static inline struct tiny_recipe tiny_recipe_every_arm(void)
{
    struct tiny_recipe r = tiny_recipe_default;
    r.algorithm = "grpo, kl_loss: k3";
    r.arms = "bare, instruct, sft, align, rlhf, dpo, ift, best-of-n, best-of-n-answers";
    r.more = "dpo: {epochs: 2, batch: 6, lr: 1e-2, label_smoothing: 0.1, nll_weight: 0.2}\n"
             "ift: {path: corpus.jsonl, epochs: 1, batch: 8, lr: 1e-2}\n";
    return r;
}

/* FOLDER/NAME with data and configs beside it. */
static inline void put_recipe(const char *folder, const char *name, const struct tiny_recipe *r)
{
    char text[4096], prompter[512];
    bool section = strncmp(r->reward, "rewards:", strlen("rewards:")) == 0;
    put_data(folder);
    put_config(folder, "model.json", "0.1");
    snprintf(prompter, sizeof(prompter),
             "{model: prompter, adapter: %s, meta_prompt: \"{prompt}\", max_new_tokens: 8}",
             r->adapter);
    snprintf(text, sizeof(text),
             "models:\n"
             "  target: {config: model.json, init: random, tokenizer: %s/examples/demo}\n"
             "  prompter: {config: model.json, init: random, tokenizer: %s/examples/demo}\n"
             "pretrain: {model: target, path: corpus.jsonl, epochs: 1, batch: 8, lr: 1e-2}\n"
             "prompter: %s\n"
             "target: {model: target, adapter: %s, max_new_tokens: 8}\n"
             "%s%s%s\n"
             "data: {path: pairs.jsonl, split: {train: 0.6, valid: 0.2, test: 0.2}}\n"
             "sft: {%s, epochs: 2, batch: 6, lr: 1e-2}\n"
             "reward_train: {epochs: 1, batch: 6, lr: 1e-2}\n"
             "align: {algorithm: %s, prompts: 3, rewrites: 3, answers: 2, steps: %d, lr: 1e-3, "
             "minibatches: 2}\n"
             "rlhf: {steps: 3}\n"
             "%s"
             "eval: {arms: [%s], n: 2, seeds: [1, 2], bootstrap: 50}\n"
             "run: {dir: run, threads: 1, checkpoint_every: 2, batch: 8}\n",
             AP_SOURCE_DIR, AP_SOURCE_DIR, r->prompter ? r->prompter : prompter, r->adapter,
             section ? "" : "reward: {", r->reward, section ? "" : "}", r->sft, r->algorithm,
             r->steps, r->more, r->arms);
    put_text(folder, name, text);
}

/* FOLDER/score.sh, a reward: the longer the answer the better. */
static inline void put_score_command(const char *folder)
{
    put_text(folder, "score.sh",
             "while IFS= read -r line; do id=${line#*:}; response=${line##*'\"response\":\"'}; "
             "echo \"{\\\"id\\\": ${id%%,*}, \\\"score\\\": ${#response}}\"; done\n");
}

/* -- the program -- */

struct program {
    pid_t pid;
    char out[512], err[512]; /* files of its output */
    char text[1 << 14];      /* after wait: what it wrote to standard error, the end of it */
    char table[1 << 14];     /* and to standard output, the beginning */
    size_t most_bytes;       /* of a file it may write; 0: no limit */
};

static inline const char *program_path(void)
{
    static char path[600];
    ssize_t n = readlink("/proc/self/exe", path, 500);
    assert_true(n > 0);
    path[n] = '\0';
    *strrchr(path, '/') = '\0';
    strcat(path, "/alignpro");
    if (access(path, X_OK) != 0) {
        fprintf(stderr, "%s is not built\n", path);
        fail();
    }
    return path;
}

static inline void program_child(const struct program *p, char *const *argv)
{
    int out = open(p->out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int err = open(p->err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    if (p->most_bytes) { /* as on a full disk: a write that fails, not a signal */
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){p->most_bytes, p->most_bytes});
    }
    setenv("OMP_WAIT_POLICY", "passive", 1); /* other tests run on the same processors */
    execv(argv[0], argv);
    _exit(127);
}

/* alignpro ARGS…, ended by NULL. */
static inline void program_start(struct program *p, const char *folder, const char *const *args)
{
    char *argv[PROGRAM_ARGS + 2] = {(char *)program_path()};
    for (int i = 0; args[i]; i++) {
        assert_in_range(i, 0, PROGRAM_ARGS - 1);
        argv[i + 1] = (char *)args[i];
    }
    snprintf(p->out, sizeof(p->out), "%s/stdout", folder);
    snprintf(p->err, sizeof(p->err), "%s/stderr", folder);
    put_text(folder, "stdout", ""); /* there even when the child is killed before it opens them */
    put_text(folder, "stderr", "");
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0)
        program_child(p, argv);
}

static inline void take_text(char *out, size_t size, const char *path, bool tail)
{
    struct ap_buffer text = get_file(path);
    size_t n = text.len < size - 1 ? text.len : size - 1;
    if (n)
        memcpy(out, text.data + (tail ? text.len - n : 0), n);
    out[n] = '\0';
    ap_buffer_free(&text);
}

/* The exit code, or minus the signal. */
static inline int program_wait(struct program *p)
{
    int how = 0;
    assert_int_equal(waitpid(p->pid, &how, 0), p->pid);
    take_text(p->text, sizeof(p->text), p->err, true);
    take_text(p->table, sizeof(p->table), p->out, false);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -WTERMSIG(how);
}

#define program_run(p, folder, ...)                                                                \
    (program_start((p), (folder), (const char *const[]){__VA_ARGS__, NULL}), program_wait(p))

/* Exit code 0, or what it said. */
#define program_must(p, folder, ...)                                                               \
    do {                                                                                           \
        int code_ = program_run(p, folder, __VA_ARGS__);                                           \
        if (code_ != 0) {                                                                          \
            fprintf(stderr, "%s:%d: exit code %d: %s\n", __FILE__, __LINE__, code_, (p)->text);    \
            _fail(__FILE__, __LINE__);                                                             \
        }                                                                                          \
    } while (0)

/* It must fail with this code, and its last line hold the parts; that line is the only one that
 * begins with the program's name. */
static inline void check_refused(const struct program *p, int code, int expected, const char *part,
                                 const char *other)
{
    size_t n = strlen(p->text);
    const char *last = p->text + n;
    if (code != expected) {
        fprintf(stderr, "exit code %d, expected %d: %s\n", code, expected, p->text);
        fail();
    }
    assert_true(n > 0 && p->text[n - 1] == '\n');
    for (last--; last > p->text && last[-1] != '\n'; last--)
        ;
    check_holds(last, "alignpro");
    check_holds(last, part);
    check_holds(last, other);
}

static inline double program_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void program_sleep(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&t, NULL);
}

/* Until standard error holds the text; false when the program ended or a minute passed. */
static inline bool program_says(struct program *p, const char *text)
{
    for (int i = 0; i < 60000; i++) {
        struct ap_buffer err = {0};
        int how;
        bool found =
            ap_file_read(p->err, 1 << 20, &err, NULL) == AP_OK && err.len && strstr(err.data, text);
        ap_buffer_free(&err);
        if (found)
            return true;
        if (waitpid(p->pid, &how, WNOHANG | WNOWAIT) != 0 && i > 0 && access(p->err, R_OK) == 0 &&
            kill(p->pid, 0) != 0)
            return false;
        program_sleep(1e-3);
    }
    return false;
}

/* -- two runs that must be one -- */

static inline bool final_of(char *out, size_t size, const char *run, const char *stage)
{
    static const char *const files[] = {"adapter_model.safetensors", "model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(out, size, "%s/%s/final/%s", run, stage, files[i]);
        if (access(out, R_OK) == 0)
            return true;
    }
    return false;
}

/* Weights of every stage and what eval found, byte for byte. Returns the stages compared. */
static inline int check_same_results(const char *a, const char *b)
{
    static const char *const stages[] = {
        "pretrain", "reward",  "reward-taught", "reward-own", "sft", "sft-2", "sft-3",
        "align",    "align-2", "align-3",       "rlhf",       "dpo", "ift"};
    char x[700], y[700];
    int n = 0;
    for (size_t i = 0; i < AP_LEN(stages); i++) {
        bool has = final_of(x, sizeof(x), a, stages[i]);
        assert_int_equal(has, final_of(y, sizeof(y), b, stages[i]));
        if (has)
            check_same_file(x, y);
        n += has;
    }
    check_same_file(in_folder(a, "eval.json"), in_folder(b, "eval.json"));
    check_same_file(in_folder(a, "eval.csv"), in_folder(b, "eval.csv"));
    return n;
}

#endif
