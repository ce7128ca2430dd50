/* Data sets, splits and prompts of a run (run_inner.h). */
#include "pipeline/run_inner.h"

#include "base/memory.h"
#include "text/sequence.h"

#include <string.h>

struct faults {
    const struct ap_sink *sink;
    int n;
};

/* A file of another kind has as many faults as lines: the first few tell enough. */
static void on_bad(void *context, const char *message)
{
    enum { TOLD = 8 };
    struct faults *faults = context;
    if (faults->n++ < TOLD)
        ap_sink_warn(faults->sink, "data", "%s", message);
    else if (faults->n == TOLD + 1)
        ap_sink_warn(faults->sink, "data", "further malformed records are counted only");
}

static ap_status read_dataset(struct ap_run *run, const char *path, bool is_main,
                              struct ap_dataset *out, struct ap_error *err)
{
    const struct ap_data_settings *d = &run->s->data;
    struct faults faults = {.sink = run->sink};
    struct ap_dataset_options options = {.format = is_main ? d->format : "auto",
                                         .score = d->score,
                                         .bad_lines = d->bad_lines,
                                         .limit = is_main ? (uint64_t)d->limit : 0,
                                         .opening = d->opening,
                                         .prefer = d->prefer,
                                         .on_bad = on_bad,
                                         .on_bad_context = &faults};
    ap_status status = ap_dataset_read(out, path, &options, err);
    if (status == AP_OK) {
        char counts[400];
        ap_dataset_counts(out, counts, sizeof(counts));
        ap_sink_note(run->sink, "data", "%s: %s", path, counts);
    }
    return status;
}

/* A section that the recipe has not, or that takes no file, reads none. */
void ap_run_paths(const struct ap_settings *s, struct ap_run_path out[AP_RUN_PATHS])
{
    const char *sft = strcmp(s->sft.source, "file") == 0 ? s->sft.path : "";
    const char *pretrain = s->pretrain.model[0] ? s->pretrain.path : "";
    const char *dpo = s->has_dpo ? s->dpo.path : "", *ift = s->has_ift ? s->ift.path : "";
    const struct ap_run_path paths[AP_RUN_PATHS] = {
        {"data.path", s->data.path},
        {"pretrain.path", pretrain},
        {"sft.path", sft},
        {"reward_train.path", s->reward_train.path},
        {"align.path", s->align.path},
        {"align.valid_path", s->align.valid_path},
        {"rlhf.path", s->rlhf.path},
        {"rlhf.valid_path", s->rlhf.valid_path},
        {"dpo.path", dpo},
        {"ift.path", ift},
        {"eval.path", s->eval.path},
    };
    memcpy(out, paths, sizeof(paths));
}

ap_status ap_run_dataset(struct ap_run *run, const char *path, const struct ap_dataset **out,
                         struct ap_error *err)
{
    bool is_main = !path[0];
    path = is_main ? run->s->data.path : path;
    for (int i = 0; i < run->n_data; i++)
        if (strcmp(run->data[i].path, path) == 0) {
            *out = &run->data[i].set;
            return AP_OK;
        }
    if (!path[0])
        return ap_fail(err, AP_INVALID, "data.path: is missing and this stage needs data; add it");
    if (run->n_data == AP_RUN_DATA_MAX)
        return ap_fail(err, AP_LIMIT, "%s: more than %d data files in one run", path,
                       AP_RUN_DATA_MAX);
    struct ap_run_data *d = &run->data[run->n_data];
    ap_status status = read_dataset(run, path, strcmp(path, run->s->data.path) == 0, &d->set, err);
    if (status == AP_OK && !(d->path = ap_strdup(path)))
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", path);
    if (status != AP_OK) {
        ap_dataset_free(&d->set);
        return status;
    }
    run->n_data++;
    *out = &d->set;
    return AP_OK;
}

ap_status ap_run_select(struct ap_run *run, const struct ap_dataset *d, ap_split split,
                        bool unique_prompts, int32_t **index, size_t *n, struct ap_error *err)
{
    return ap_dataset_select(d, split, run->s->data.train, run->s->data.valid, unique_prompts,
                             index, n, err);
}

ap_too_long ap_run_too_long(const struct ap_run *run)
{
    const char *word = run->s->data.too_long;
    return strcmp(word, "skip") == 0       ? AP_TOO_LONG_SKIP
           : strcmp(word, "truncate") == 0 ? AP_TOO_LONG_TRUNCATE
                                           : AP_TOO_LONG_ERROR;
}

ap_status ap_run_prompts(struct ap_run *run, const char *path, ap_split split,
                         const struct ap_lm *lm, const char *meta_prompt, int max_new_tokens,
                         int64_t limit, struct ap_prompts *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_dataset *d;
    int32_t *index = NULL;
    size_t n;

    *out = (struct ap_prompts){0};
    AP_TRY(ap_run_dataset(run, path, &d, err));
    AP_TRY(ap_run_select(run, d, split, true, &index, &n, err));
    AP_TRY(ap_prompts_make(out, d, index, n, lm, meta_prompt, lm ? lm->context - max_new_tokens : 0,
                           ap_run_too_long(run), limit, err));
    if (out->n_skipped > 0)
        ap_sink_note(run->sink, "data",
                     "%s: %lld prompts longer than the context of %s were skipped, %d are left",
                     path[0] ? path : run->s->data.path, (long long)out->n_skipped, lm->name,
                     out->n);
    if (out->n == 0)
        status = ap_fail(err, AP_INVALID,
                         "%s: no prompts are left after the split (data.split) and the length "
                         "limit (data.too_long, run.context)",
                         path[0] ? path : run->s->data.path);
out:
    ap_free(index);
    return status;
}

/* Keep the prompts that both sides have: one may be too long for one model only. Both are in file
 * order. */
static void keep_common(struct ap_prompts *a, struct ap_prompts *b)
{
    int n = 0, i = 0, k = 0;
    while (i < a->n && k < b->n) {
        if (a->items[i].record == b->items[k].record) {
            struct ap_prompt swap_a = a->items[n], swap_b = b->items[n];
            a->items[n] = a->items[i];
            b->items[n] = b->items[k];
            a->items[i++] = swap_a;
            b->items[k++] = swap_b;
            n++;
        } else if (a->items[i].record < b->items[k].record)
            i++;
        else
            k++;
    }
    for (i = n; i < a->n; i++)
        ap_free(a->items[i].ids);
    for (k = n; k < b->n; k++)
        ap_free(b->items[k].ids);
    a->n = b->n = n;
}

ap_status ap_run_test_prompts(struct ap_run *run, const struct ap_lm *target,
                              const struct ap_lm *prompter, int64_t limit, struct ap_prompts *out,
                              struct ap_prompts *rewriter, struct ap_error *err)
{
    const struct ap_settings *s = run->s;
    ap_split split = s->eval.path[0] ? AP_SPLIT_ALL : AP_SPLIT_TEST;
    ap_status status = ap_run_prompts(run, s->eval.path, split, target, NULL,
                                      s->target.max_new_tokens, limit, out, err);
    if (status == AP_OK)
        status = ap_run_prompts(run, s->eval.path, split, prompter, ap_run_meta_prompt(run),
                                s->prompter.max_new_tokens, limit, rewriter, err);
    if (status == AP_OK)
        keep_common(out, rewriter);
    if (status == AP_OK && out->n == 0)
        status = ap_fail(err, AP_INVALID,
                         "no test prompt fits both the prompter's and the target's context; raise "
                         "run.context");
    return status;
}
