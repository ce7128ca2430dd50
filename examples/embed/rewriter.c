/* A program that embeds alignpro: it trains a recipe's prompter, or takes the one that is there,
 * and rewrites its standard input line by line.
 *
 *     cc rewriter.c -o rewriter $(pkg-config --cflags --libs alignpro)
 *     ./rewriter recipe.yaml run.dir=my-run <prompts.txt
 */
#include <alignpro/recipe.h>
#include <alignpro/run.h>
#include <alignpro/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_event(void *context, const struct ap_event *event)
{
    (void)context;
    if (event->kind == AP_EVENT_END)
        fprintf(stderr, "%s: %.1f s\n", event->stage, event->seconds);
    else if (event->kind == AP_EVENT_WARN)
        fprintf(stderr, "%s: %s\n", event->stage, event->text);
}

/* Every stage of the recipe that is not done yet. *folder: where the run is; the caller frees it.
 */
static ap_status train(const char *recipe_path, const char *const *overrides, size_t n_overrides,
                       char **folder, struct ap_error *err)
{
    const struct ap_sink sink = {.fn = on_event};
    struct ap_recipe *recipe = NULL;
    struct ap_run *run = NULL;
    ap_status status = ap_recipe_open(&recipe, recipe_path, overrides, n_overrides, err);
    if (status == AP_OK)
        status = ap_run_open(&run, recipe, NULL, &sink, err);
    if (status == AP_OK)
        status = ap_run_stage(run, NULL, err);
    if (status == AP_OK)
        *folder = strdup(ap_run_directory(run));
    ap_run_close(run);
    ap_recipe_close(recipe);
    return status;
}

static ap_status rewrite_lines(const char *folder, struct ap_error *err)
{
    struct ap_rewriter *rewriter;
    ap_status status = ap_rewriter_open(&rewriter, folder, NULL, 0, 0, err);
    if (status != AP_OK)
        return status;
    char *line = NULL;
    size_t room = 0;
    struct ap_rewrite_options options = {.temperature = 0};
    while (status == AP_OK && getline(&line, &room, stdin) >= 0) {
        struct ap_rewritten rewrite;
        line[strcspn(line, "\n")] = '\0';
        status = ap_rewrite(rewriter, line, &options, &rewrite, err);
        if (status != AP_OK)
            break;
        puts(rewrite.text);
        ap_text_free(rewrite.text);
        options.record++;
    }
    free(line);
    ap_rewriter_close(rewriter);
    return status;
}

int main(int argc, char **argv)
{
    struct ap_error err = {0};
    char *folder = NULL;
    if (argc < 2) {
        fprintf(stderr, "usage: %s RECIPE [KEY=VALUE]... <prompts\n", argv[0]);
        return 2;
    }
    ap_status status =
        train(argv[1], (const char *const *)argv + 2, (size_t)argc - 2, &folder, &err);
    if (status == AP_OK)
        status = rewrite_lines(folder, &err);
    free(folder);
    if (status != AP_OK)
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
    return status == AP_OK ? 0 : 1;
}
