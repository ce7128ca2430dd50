/* The fault server as a program, for tests in shell: prints its address and serves until it is
 * ended. SIGUSR1 writes what it has counted to FILE, one "name number" a line.
 *   serve_answers FILE [key=KEY] [latency=SECONDS] [faulty=N] [KIND=RATE]...
 * KIND as in fault_server.h; faulty: requests after so many are answered rightly. */
#include "fault_server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool set_rate(struct fault_config *config, const char *name, const char *value)
{
    for (int k = 0; k < FAULT_COUNT; k++)
        if (strcmp(fault_name((fault_kind)k), name) == 0) {
            config->rate[k] = strtod(value, NULL);
            return true;
        }
    return false;
}

static bool read_option(struct fault_config *config, char *option)
{
    char *value = strchr(option, '=');
    if (!value)
        return false;
    *value++ = '\0';
    if (strcmp(option, "key") == 0)
        snprintf(config->key, sizeof(config->key), "%s", value);
    else if (strcmp(option, "latency") == 0)
        config->latency = strtod(value, NULL);
    else if (strcmp(option, "faulty") == 0)
        config->n_faulty = strtol(value, NULL, 10);
    else
        return set_rate(config, option, value);
    return true;
}

/* Whole or not there: whoever waits for the file may read it at once. */
static void write_counts(struct fault_server *s, const char *path)
{
    struct fault_counts n;
    char part[4096];
    fault_server_counts(s, &n);
    snprintf(part, sizeof(part), "%s.part", path);
    FILE *f = fopen(part, "w");
    if (!f)
        return;
    fprintf(f,
            "requests %lld\nbought %lld\nwhole %lld\nkeys %lld\nunauthorised %lld\nunnamed %lld\n",
            (long long)n.n_request, (long long)n.n_bought, (long long)n.n_whole, (long long)n.n_key,
            (long long)n.n_unauthorised, (long long)n.n_unnamed);
    fclose(f);
    rename(part, path);
}

int main(int argc, char **argv)
{
    struct fault_config config = {0};
    sigset_t signals;
    int got;
    for (int i = 2; i < argc; i++)
        if (!read_option(&config, argv[i])) {
            fprintf(stderr, "serve_answers: %s?\n", argv[i]);
            return 2;
        }
    if (argc < 2)
        return 2;
    struct fault_server *s = fault_server_start(&config);
    if (!s)
        return 1;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    puts(fault_server_url(s));
    fflush(stdout);
    while (sigwait(&signals, &got) == 0 && got == SIGUSR1)
        write_counts(s, argv[1]);
    fault_server_stop(s);
    return 0;
}
