/* Options and records of the commands that work with one model (cli_model.h). */
#include "cli_model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool cli_parse_int(const char *command, const char *name, const char *text, long long min,
                   long long max, long long *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (end != text && !*end && errno == 0 && *out >= min && *out <= max)
        return true;
    cli_usage_error(command, "%s is '%s', expected a whole number from %lld to %lld", name, text,
                    min, max);
    return false;
}

bool cli_parse_real(const char *command, const char *name, const char *text, double min, double max,
                    double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end != text && !*end && *out >= min && *out <= max)
        return true;
    cli_usage_error(command, "%s is '%s', expected a number from %g to %g", name, text, min, max);
    return false;
}

bool cli_parse_temperature(const char *command, const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end != text && !*end && (*out == 0 || (*out >= 0.001 && *out <= 1000)))
        return true;
    cli_usage_error(command, "--temperature is '%s', expected 0 or a number from 0.001 to 1000",
                    text);
    return false;
}

int cli_model_option(struct ap_engine_options *options, const char *command, int option,
                     char **argv)
{
    long long n;
    bool mine;
    if (!cli_chat_option(&options->chat, command, option, &mine))
        return CLI_USAGE;
    if (mine)
        return CLI_OK;
    switch (option) {
    case 'm':
        options->model = optarg;
        return CLI_OK;
    case 'a':
        options->adapter = optarg;
        return CLI_OK;
    case 'p':
        options->dtype = optarg;
        if (!strcmp(optarg, "f32") || !strcmp(optarg, "bf16"))
            return CLI_OK;
        cli_usage_error(command, "--dtype is '%s', expected f32 or bf16", optarg);
        return CLI_USAGE;
    case 'c':
        if (!cli_parse_int(command, "--context", optarg, 2, 1 << 30, &n))
            return CLI_USAGE;
        options->context = (int)n;
        return CLI_OK;
    case 'j':
        if (!cli_parse_int(command, "--threads", optarg, 1, 4096, &n))
            return CLI_USAGE;
        options->threads = (int)n;
        return CLI_OK;
    default:
        return cli_option_error(command, option, argv);
    }
}

static void list_keys(char *text, size_t size, const char *const *keys, size_t n_keys)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < n_keys && used < size; i++) {
        const char *joint = i == 0 ? "" : i + 1 == n_keys ? " or " : ", ";
        used += (size_t)snprintf(text + used, size - used, "%s\"%s\"", joint, keys[i]);
    }
}

ap_status cli_one_of(const json_t *in, const char *const *keys, size_t n_keys, size_t *which,
                     struct ap_error *err)
{
    char list[128];
    size_t n_found = 0;
    for (size_t i = 0; i < n_keys; i++) {
        const json_t *value = json_object_get(in, keys[i]);
        if (value && !json_is_null(value)) {
            *which = i;
            n_found++;
        }
    }
    if (n_found == 1)
        return AP_OK;
    list_keys(list, sizeof(list), keys, n_keys);
    return cli_error(err, AP_FORMAT, "has %zu of the keys %s, expected one", n_found, list);
}

ap_status cli_encode(const struct ap_engine *e, const char *text, size_t n, struct ap_ids *ids,
                     struct ap_error *err)
{
    const struct ap_tokenizer *tokenizer;
    struct ap_segment segment = {text, n, AP_SEGMENT_MARKUP};
    ap_status status = ap_engine_tokenizer(e, &tokenizer, err);
    return status == AP_OK ? ap_tokenizer_encode(tokenizer, &segment, 1, true, ids, err) : status;
}
