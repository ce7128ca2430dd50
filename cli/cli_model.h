/* What score and generate share: the options that open a model, numbers on the command line, and
 * the token ids of a record. */
#ifndef CLI_MODEL_H
#define CLI_MODEL_H

#include "cli.h"

#include "alignpro/model.h"

/* Rows for a command's getopt_long table; their values are below 256, a command's own are not. */
#define CLI_MODEL_OPTIONS                                                                          \
    {"model", required_argument, NULL, 'm'}, {"adapter", required_argument, NULL, 'a'},            \
        {"context", required_argument, NULL, 'c'}, {"threads", required_argument, NULL, 'j'},      \
        {"dtype", required_argument, NULL, 'p'}, CLI_CHAT_OPTIONS,                                 \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }
enum { CLI_OWN_OPTION = 256 };
#define CLI_MODEL_HELP                                                                             \
    "  --model DIR           a Hugging Face folder\n"                                              \
    "  --adapter DIR         a PEFT LoRA adapter on top of it\n"                                   \
    "  --context N           most tokens of a sequence (default: what the model was made for)\n"   \
    "  --threads N           (default: all processors)\n"                                          \
    "  --dtype f32|bf16      of the arithmetic (default f32); bf16 takes half the "                \
    "memory\n" CLI_CHAT_HELP

/* Take one of the rows above but help. CLI_OK, or CLI_USAGE after a message. */
int cli_model_option(struct ap_engine_options *options, const char *command, int option,
                     char **argv);

/* The whole text is a number from min to max, or a message and false. name: "--context". */
bool cli_parse_int(const char *command, const char *name, const char *text, long long min,
                   long long max, long long *out);
bool cli_parse_real(const char *command, const char *name, const char *text, double min, double max,
                    double *out);
/* 0, or what the sampler takes: 0.001 to 1000. */
bool cli_parse_temperature(const char *command, const char *text, double *out);

/* "{"ids"}, {"text"}": exactly one of these keys must be in the record. *which is its place. */
ap_status cli_one_of(const json_t *in, const char *const *keys, size_t n_keys, size_t *which,
                     struct ap_error *err);
/* A text as markup, with what the tokenizer's post-processor adds. */
ap_status cli_encode(const struct ap_engine *e, const char *text, size_t n, struct ap_ids *ids,
                     struct ap_error *err);

int cli_score(int argc, char **argv);
int cli_generate(int argc, char **argv);

#endif
