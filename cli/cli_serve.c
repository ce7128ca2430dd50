/* alignpro serve: a run's prompter behind HTTP, before an upstream or the run's own target. */
#include "cli_model.h"
#include "cli_progress.h"
#include "cli_run.h"

#include "alignpro/serve.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SETS_MAX = 64 };

/* a signal handler has nowhere else to look */
static volatile sig_atomic_t reload_flag, stop_flag;

static void on_reload(int number)
{
    (void)number;
    reload_flag = 1;
}

/* The first asks for an end, the second is one. */
static void on_stop(int number)
{
    static const char text[] = "\nfinishing what is in flight (again to stop at once)\n";
    if (stop_flag) {
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    stop_flag = 1;
    ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)ignored;
}

static void take_signal(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

static int help(void)
{
    puts("usage: alignpro serve --run DIR [--upstream URL | --local-target] [OPTION]...\n"
         "       alignpro serve --keys FILE --new-key NAME\n"
         "The prompter of a run behind HTTP, in OpenAI's format. Prints `listening on URL`; "
         "SIGTERM\n"
         "or Ctrl-C ends it when what is in flight is done, SIGHUP reads the keys and the\n"
         "certificate again.\n"
         "  --run DIR             a run directory of `alignpro run` or `alignpro demo`\n"
         "  --upstream URL        what answers: a base address, as OpenAI's clients take it\n"
         "                        (https://host/v1)\n"
         "  --local-target        what answers: the run's own target\n"
         "  --listen HOST:PORT    (default: 127.0.0.1:8080; port 0: one that is free)\n"
         "rewriting\n"
         "  --rewrite WHAT        last user message, all of them, or none (default: last)\n"
         "  --budget SECONDS      of a rewrite; then the prompt goes on unchanged (default: 2)\n"
         "  --temperature T       of the prompter (default: 0, the likeliest rewrite)\n"
         "  --seed S              of its random numbers (default: 1)\n"
         "  --set guard.KEY=VALUE a key of guard over the recipe's\n"
         "  --cache MIB           for rewrites that are remembered (default: 64)\n"
         "  --queue N --batch N   works of a kind that wait; sequences decoded at once (default: "
         "256, 16)\n"
         "  --threads N           (default: all processors)\n"
         "  --no-score            without /v1/score and the reward that it takes\n"
         "who may ask\n"
         "  --keys FILE           lines NAME SHA256 [REQUESTS-A-MINUTE]; without it, only this\n"
         "                        machine's own addresses are listened on\n"
         "  --new-key NAME        makes a key, prints it once, and adds its hash to --keys\n"
         "  --open                without keys on any address\n"
         "  --tls-cert FILE --tls-key FILE   serve https\n"
         "upstream\n"
         "  --upstream-key-env NAME, --upstream-key-file FILE   its key\n"
         "  --forward-authorization          the client's own key goes on instead\n"
         "  --upstream-ca FILE               certificates to trust\n"
         "  --upstream-connections N         at once (default: 256)\n"
         "limits\n"
         "  --max-body BYTES --max-header BYTES --max-depth N --max-fields N\n"
         "                        of a request (default: 4194304, 16384, 64, 65536)\n"
         "  --connections N --connections-per-address N      (default: 2048, 512; 0: no limit)\n"
         "  --receive-timeout S --idle-timeout S --request-timeout S --connect-timeout S\n"
         "  --close-timeout S     (default: 30, 75, 600, 10, 30)\n"
         "log, on standard error\n"
         "  --log                 a line for each request: method, path, status, time, key's name\n"
         "                        then broken, late or dropped, if the upstream's answer was cut\n"
         "  --log-prompts         a line for each text and its rewrite, too");
    return cli_finish(CLI_OK);
}

struct serve {
    struct ap_serve_options o;
    const char *sets[SETS_MAX];
    const char *new_key;
};

/* Every option that is a text or a number, and where it goes. */
struct place {
    const char *name;
    size_t offset;
    enum { TEXT, SECONDS, COUNT, BYTES, MIB, FLAG, CLEAR } kind;
};
#define AT(member) offsetof(struct ap_serve_options, member)

static const struct place places[] = {
    {"run", AT(run_dir), TEXT},
    {"upstream", AT(upstream), TEXT},
    {"local-target", AT(local_target), FLAG},
    {"listen", AT(listen), TEXT},
    {"rewrite", AT(rewrite), TEXT},
    {"budget", AT(budget_s), SECONDS},
    {"temperature", AT(temperature), SECONDS},
    {"cache", AT(cache_bytes), MIB},
    {"queue", AT(queue), COUNT},
    {"batch", AT(batch), COUNT},
    {"threads", AT(threads), COUNT},
    {"no-score", AT(score), CLEAR},
    {"keys", AT(keys_file), TEXT},
    {"open", AT(open), FLAG},
    {"tls-cert", AT(tls_cert), TEXT},
    {"tls-key", AT(tls_key), TEXT},
    {"upstream-key-env", AT(upstream_key_env), TEXT},
    {"upstream-key-file", AT(upstream_key_file), TEXT},
    {"forward-authorization", AT(forward_authorization), FLAG},
    {"upstream-ca", AT(upstream_ca), TEXT},
    {"upstream-connections", AT(upstream_connections), COUNT},
    {"max-body", AT(body_bytes), BYTES},
    {"max-header", AT(header_bytes), BYTES},
    {"max-depth", AT(json_depth), COUNT},
    {"max-fields", AT(json_fields), BYTES},
    {"connections", AT(connections), COUNT},
    {"connections-per-address", AT(connections_per_address), COUNT},
    {"receive-timeout", AT(receive_timeout_s), SECONDS},
    {"idle-timeout", AT(idle_timeout_s), SECONDS},
    {"request-timeout", AT(request_timeout_s), SECONDS},
    {"connect-timeout", AT(connect_timeout_s), SECONDS},
    {"close-timeout", AT(close_timeout_s), SECONDS},
    {"log", AT(log), FLAG},
    {"log-prompts", AT(log_prompts), FLAG},
};
enum { N_PLACE = sizeof(places) / sizeof(places[0]), FIRST_PLACE = 256 };

static bool parse_number(const char *name, const char *text, double max, bool whole, double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end != text && !*end && *out >= 0 && *out <= max &&
        (!whole || *out == (double)(int64_t)*out))
        return true;
    cli_usage_error("serve", "--%s is '%s', expected a number of 0 to %g", name, text, max);
    return false;
}

static bool take_place(struct ap_serve_options *o, const struct place *p)
{
    void *at = (char *)o + p->offset;
    double value = 0;
    bool whole = p->kind != SECONDS;
    double max = p->kind == COUNT ? 1 << 20 : p->kind == MIB ? 1 << 20 : 1e9;
    if (p->kind != TEXT && p->kind != FLAG && p->kind != CLEAR &&
        !parse_number(p->name, optarg, max, whole, &value))
        return false;
    switch (p->kind) {
    case TEXT:
        *(const char **)at = optarg;
        break;
    case SECONDS:
        *(double *)at = value;
        break;
    case COUNT:
        *(int *)at = (int)value;
        break;
    case BYTES:
        *(size_t *)at = (size_t)value;
        break;
    case MIB:
        *(size_t *)at = (size_t)value << 20;
        break;
    case FLAG:
    case CLEAR:
        *(bool *)at = p->kind == FLAG;
    }
    return true;
}

static bool take_option(struct serve *s, int option)
{
    double seed;
    if (option >= FIRST_PLACE)
        return take_place(&s->o, &places[option - FIRST_PLACE]);
    switch (option) {
    case 's':
        if (!parse_number("seed", optarg, 9e15, true, &seed))
            return false;
        s->o.seed = (uint64_t)seed;
        return true;
    case 'k':
        s->new_key = optarg;
        return true;
    default:
        if (s->o.n_sets == SETS_MAX) {
            cli_usage_error("serve", "more than %d --set; put them into the recipe", SETS_MAX);
            return false;
        }
        s->sets[s->o.n_sets++] = optarg;
        return true;
    }
}

static int make_key(const struct serve *s)
{
    struct ap_error err = {0};
    char key[AP_SERVE_KEY_MAX];
    if (!s->o.keys_file)
        return cli_usage_error("serve", "--new-key takes --keys, the file for its hash");
    if (ap_serve_new_key(s->o.keys_file, s->new_key, key, &err) != AP_OK)
        return cli_fail(&err);
    puts(key);
    fprintf(stderr, "alignpro: the key of %s; it is shown this once\n", s->new_key);
    return cli_finish(CLI_OK);
}

static void on_listening(void *context, const char *url)
{
    (void)context;
    printf("listening on %s\n", url);
    fflush(stdout);
}

static int run(struct serve *s)
{
    struct ap_error err = {0};
    struct cli_progress progress;
    cli_progress_init(&progress);
    progress.sink.stop = &stop_flag;
    take_signal(SIGINT, on_stop);
    take_signal(SIGTERM, on_stop);
    take_signal(SIGHUP, on_reload);
    s->o.sets = s->sets;
    s->o.listening = on_listening;
    s->o.reload = &reload_flag;
    ap_status status = ap_serve(&s->o, &progress.sink, &err);
    cli_progress_end(&progress);
    return status == AP_OK ? cli_finish(CLI_OK) : cli_fail(&err);
}

static void fill_options(struct option options[N_PLACE + 5])
{
    static const struct option others[] = {{"seed", required_argument, NULL, 's'},
                                           {"set", required_argument, NULL, 'g'},
                                           {"new-key", required_argument, NULL, 'k'},
                                           {"help", no_argument, NULL, 'h'},
                                           {NULL, 0, NULL, 0}};
    for (int i = 0; i < N_PLACE; i++)
        options[i] = (struct option){
            places[i].name,
            places[i].kind == FLAG || places[i].kind == CLEAR ? no_argument : required_argument,
            NULL, FIRST_PLACE + i};
    memcpy(options + N_PLACE, others, sizeof(others));
}

int cli_serve(int argc, char **argv)
{
    struct option options[N_PLACE + 5];
    struct serve s = {0};
    int option;
    ap_serve_defaults(&s.o);
    fill_options(options);
    optind = 0;
    while ((option = cli_next_option(argc, argv, options)) != -1) {
        if (option == 'h')
            return help();
        if (option == '?' || option == ':')
            return cli_option_error("serve", option, argv);
        if (!take_option(&s, option))
            return CLI_USAGE;
    }
    if (optind < argc)
        return cli_usage_error("serve", "'%s' is no option", argv[optind]);
    if (s.new_key)
        return make_key(&s);
    if (!s.o.run_dir)
        return cli_usage_error("serve", "--run is missing, expected a run directory");
    if (s.o.upstream && s.o.local_target)
        return cli_usage_error("serve", "--upstream and --local-target, expected one of them");
    return run(&s);
}
