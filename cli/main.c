/* alignpro COMMAND …: the table of commands, and the way to one of them. */
#include "cli_command.h"
#include "cli_model.h"
#include "cli_run.h"

#include "alignpro/version.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct cli_command cli_commands[] = {
    {"demo", cli_demo, "the whole method on a small bundled world, in minutes"},
    {"run", cli_run, "every stage of a recipe, each skipped when its result exists"},
    {"pretrain", cli_pretrain, "one stage: supervised training of a model from scratch"},
    {"sft", cli_sft, "one stage: the prompter learns to rewrite from examples"},
    {"reward", cli_reward, "one stage: a reward is learned from pairs"},
    {"align", cli_align, "one stage: the prompter learns from the reward"},
    {"rlhf", cli_rlhf, "one stage: the target itself learns, for comparison"},
    {"dpo", cli_dpo, "one stage: the target learns from preference pairs, for comparison"},
    {"ift", cli_ift, "one stage: the target learns from answers, for comparison"},
    {"eval", cli_eval, "every arm on one test set: table, intervals, report.html"},
    {"sweep", cli_sweep, "a recipe for each value of a key: reward against KL, and the knee"},
    {"report", cli_report, "pages and tables of runs, one or several side by side"},
    {"bound", cli_bound, "how far prompting can get on this target, from both sides"},
    {"rewrite", cli_rewrite, "one prompt in, its rewrite out"},
    {"serve", cli_serve, "the prompter behind HTTP: a proxy that rewrites what people ask"},
    {"export", cli_export, "the prompter, or a model, for peft, transformers or llama.cpp"},
    {"generate", cli_generate, "a model's continuations of ids, prompts or chats"},
    {"score", cli_score, "log-probabilities of a text, or a classifier's score"},
    {"tokenize", cli_tokenize, "text to token ids and back"},
    {"render", cli_render, "chats to text and ids by a model's template"},
    {"inspect", cli_inspect, "what a file or folder holds: data, models, adapters, GGUF, runs"},
    {"help", cli_help, "this list; or a command's options, or a recipe key's meaning"},
    {NULL, NULL, NULL},
};

const struct cli_command *cli_command_find(const char *name)
{
    for (const struct cli_command *c = cli_commands; c->name; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

enum { NAME_MAX_CONSIDERED = 32, NEAR = 2 }; /* edits from what may have been meant */

/* Levenshtein's, of names that are short; what is longer differs in its rest. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_CONSIDERED + 1];
    size_t n_a = strnlen(a, NAME_MAX_CONSIDERED), n_b = strnlen(b, NAME_MAX_CONSIDERED);
    for (size_t j = 0; j <= n_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            size_t other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replaced < other ? replaced : other;
        }
    }
    return row[n_b];
}

const char *cli_command_nearest(const char *name)
{
    const char *nearest = NULL;
    size_t least = NEAR + 1;
    for (const struct cli_command *c = cli_commands; c->name; c++) {
        size_t distance = edit_distance(name, c->name), n = strlen(name);
        if (n > 1 && distance > NEAR && strncmp(name, c->name, n) == 0)
            distance = NEAR; /* the beginning of it */
        if (distance < least && distance < strlen(c->name)) {
            least = distance;
            nearest = c->name;
        }
    }
    return nearest;
}

/* libgomp reads how long its threads spin before main begins, and its default, some milliseconds,
 * makes every parallel region wait for a time slice as soon as another process wants a processor.
 * So the program starts itself once more with a short spin, unless the user has chosen. */
static void choose_waiting(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    if (setenv("GOMP_SPINCOUNT", "2000", 1) == 0)
        execv("/proc/self/exe", argv); /* where it fails, the default does */
}

/* A standard stream that is closed would be the next file that is opened, and a message would be
 * written into it. Standard output is filled for reading only: what is written there still fails,
 * and cli_finish says so. */
static void fill_standard_streams(void)
{
    static const int modes[] = {O_RDONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) < 0)
            exit(CLI_FAILED);
}

/* A large block that is freed goes back to the system. Left to itself the C library keeps blocks of
 * up to 32 MiB once one of that size was freed, and a stage would pay for what the one before it
 * has given up. */
static void give_back_large_blocks(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
#endif
}

static int refuse_command(const char *name)
{
    const char *nearest = cli_command_nearest(name);
    fprintf(stderr, "alignpro: there is no command '%s'; %s%s%s alignpro help\n", name,
            nearest ? "did you mean '" : "", nearest ? nearest : "", nearest ? "'? See" : "see");
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    fill_standard_streams();
    give_back_large_blocks();
    choose_waiting(argv);
    /* A closed pipe, or a limit on the size of files, is a failed write with a message and an exit
     * code; a run of hours goes on. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2) {
        cli_help(1, argv);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("alignpro %s\n", ap_version());
        return cli_finish(CLI_OK);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return cli_help(1, argv);
    const struct cli_command *command = cli_command_find(argv[1]);
    return command ? command->run(argc - 1, argv + 1) : refuse_command(argv[1]);
}
