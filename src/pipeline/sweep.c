/* Opening a sweep: keys and values, the grid, and a recipe for each point, all before anything
 * runs. Not here: running (sweep_run.c). Entry points: ap_sweep_open, ap_sweep_close. */
#include "pipeline/sweep_inner.h"

#include "base/memory.h"
#include "base/random.h"
#include "eval/bound.h"
#include "store/settings_table.h"

#include <stdio.h>
#include <string.h>

enum { FOLDER_MAX = 100 }; /* bytes of a run's folder before its hash */

static ap_status no_memory(struct ap_error *err)
{
    return ap_fail(err, AP_MEMORY, "sweep: out of memory");
}

/* ---- keys ---- */

/* What changes no result cannot be swept, and what decides who is compared with what may not. */
static ap_status check_key(const char *key, struct ap_error *err)
{
    static const char *const kept[] = {"run.dir", "run.from", "eval.arms", "eval.judges"};
    char nearest[AP_KEY_MAX];
    struct ap_setting_ref ref;
    if (!ap_setting_find(key, &ref)) {
        ap_setting_nearest(key, nearest);
        return ap_fail(err, AP_INVALID, "sweep: there is no key '%s'; did you mean '%s'?", key,
                       nearest);
    }
    for (size_t i = 0; i < AP_LEN(kept); i++)
        if (strcmp(key, kept[i]) == 0)
            return ap_fail(err, AP_INVALID,
                           "sweep: %s may not be swept: every run has its own directory, and all "
                           "are compared in the same way; sweep another key",
                           key);
    if ((ref.row->flags & AP_SETTING_HARMLESS) && strcmp(ref.group->prefix, "eval") != 0 &&
        strcmp(ref.group->prefix, "guard") != 0)
        return ap_fail(err, AP_INVALID,
                       "sweep: %s changes no result, expected a key that does; sweep another", key);
    return AP_OK;
}

/* The length of the first value: commas inside brackets and quotes part none. */
static size_t value_length(const char *text)
{
    int depth = 0;
    char quote = '\0';
    size_t n = 0;
    for (; text[n] && (text[n] != ',' || depth > 0 || quote); n++) {
        if (quote)
            quote = text[n] == quote ? '\0' : quote;
        else if (text[n] == '"' || text[n] == '\'')
            quote = text[n];
        else
            depth += (text[n] == '[') - (text[n] == ']');
    }
    return n;
}

static ap_status read_axis(struct ap_sweep_axis *axis, const char *text, struct ap_error *err)
{
    const char *at = strchr(text, '=');
    axis->key = ap_strndup(text, at ? (size_t)(at - text) : strlen(text));
    if (!axis->key)
        return no_memory(err);
    ap_status status = check_key(axis->key, err);
    for (bool more = at != NULL; more && status == AP_OK;) {
        size_t n = value_length(++at);
        if (n == 0)
            return ap_fail(err, AP_INVALID, "sweep: %s has %s, expected %s=V1,V2,…", text,
                           axis->n || at[n] ? "an empty value" : "no value", axis->key);
        if (axis->n == AP_SWEEP_MAX)
            return ap_fail(err, AP_LIMIT, "sweep: %s has more than %d values; give fewer",
                           axis->key, AP_SWEEP_MAX);
        if (!(axis->values[axis->n++] = ap_strndup(at, n)))
            return no_memory(err);
        at += n;
        more = *at == ',';
    }
    if (status == AP_OK && axis->n == 0)
        status = ap_fail(err, AP_INVALID, "sweep: %s has no value, expected %s=V1,V2,…", text,
                         axis->key);
    return status;
}

static ap_status check_once(const struct ap_sweep *s, int axis, struct ap_error *err)
{
    const char *key = s->axes[axis].key;
    size_t n = strlen(key);
    for (int i = 0; i < axis; i++)
        if (strcmp(s->axes[i].key, key) == 0)
            return ap_fail(err, AP_INVALID, "sweep: %s is given twice; put its values together",
                           key);
    for (size_t i = 0; i < s->n_overrides; i++)
        if (strncmp(s->overrides[i], key, n) == 0 && s->overrides[i][n] == '=')
            return ap_fail(err, AP_INVALID, "sweep: %s is swept and set to one value; keep one",
                           key);
    return AP_OK;
}

static ap_status read_grid(struct ap_sweep *s, const char *const *grid, size_t n_grid,
                           struct ap_error *err)
{
    ap_status status = AP_OK;
    size_t n = 1;
    if (n_grid < 1 || n_grid > AP_SWEEP_KEYS_MAX)
        return ap_fail(err, AP_INVALID, "sweep: %zu keys, expected 1 to %d, as align.kl=0.01,0.05",
                       n_grid, AP_SWEEP_KEYS_MAX);
    for (size_t i = 0; i < n_grid; i++) {
        AP_TRY(read_axis(&s->axes[s->n_axis++], grid[i], err));
        AP_TRY(check_once(s, s->n_axis - 1, err));
        n *= (size_t)s->axes[i].n;
    }
    if (n > AP_SWEEP_MAX)
        status = ap_fail(err, AP_LIMIT, "sweep: %zu combinations, expected at most %d; give fewer",
                         n, AP_SWEEP_MAX);
    s->n = status == AP_OK ? (int)n : 0;
out:
    return status;
}

/* ---- points ---- */

int ap_sweep_place(const struct ap_sweep *sweep, int point, int axis)
{
    for (int k = sweep->n_axis - 1; k > axis; k--)
        point /= sweep->axes[k].n;
    return point % sweep->axes[axis].n;
}

ap_status ap_sweep_recipe(const struct ap_sweep *sweep, int point, const char *const *more,
                          size_t n_more, struct ap_recipe **out, struct ap_error *err)
{
    ap_status status = AP_OK;
    size_t n = 0;
    char *swept[AP_SWEEP_KEYS_MAX] = {0};
    const char **sets = ap_calloc(sweep->n_overrides + AP_SWEEP_KEYS_MAX + n_more, sizeof(*sets));
    *out = NULL;
    if (!sets)
        return no_memory(err);
    for (size_t i = 0; i < sweep->n_overrides; i++)
        sets[n++] = sweep->overrides[i];
    for (int k = 0; k < sweep->n_axis; k++) {
        struct ap_buffer set = {0};
        const struct ap_sweep_axis *axis = &sweep->axes[k];
        AP_TRY(ap_buffer_printf(&set, err, "%s=%s", axis->key,
                                axis->values[ap_sweep_place(sweep, point, k)]));
        sets[n++] = swept[k] = set.data;
    }
    for (size_t i = 0; i < n_more; i++)
        sets[n++] = more[i];
    AP_TRY(ap_recipe_open(out, sweep->recipe, sets, n, err));
out:
    for (int k = 0; k < sweep->n_axis; k++)
        ap_free(swept[k]);
    ap_free(sets);
    return status;
}

struct wanted {
    const char *key;
    char *value;
};

static ap_status take_value(void *context, const char *key, const char *value, bool harmless,
                            struct ap_error *err)
{
    struct wanted *w = context;
    size_t n = strlen(value);
    bool quoted = n > 1 && value[0] == '"';
    (void)harmless;
    if (strcmp(key, w->key) != 0)
        return AP_OK;
    ap_free(w->value);
    w->value = ap_strndup(value + quoted, n - 2 * quoted);
    return w->value ? AP_OK : no_memory(err);
}

/* "align.kl=0.05,align.steps=100", other bytes than a file's name should have replaced; a name that
 * was changed has the hash of what it was. */
static ap_status name_folder(const struct ap_sweep *s, struct ap_sweep_point *p,
                             struct ap_error *err)
{
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "._-+=,";
    ap_status status = AP_OK;
    struct ap_buffer name = {0};
    for (int k = 0; k < s->n_axis; k++)
        AP_TRY(ap_buffer_printf(&name, err, "%s%s=%s", k ? "," : "", s->axes[k].key, p->values[k]));
    uint64_t hash = ap_hash(name.data, name.len);
    bool changed = name.len > FOLDER_MAX;
    if (changed)
        name.data[name.len = FOLDER_MAX] = '\0';
    for (size_t i = 0; i < name.len; i++)
        if (!strchr(fine, name.data[i])) {
            name.data[i] = '_';
            changed = true;
        }
    if (changed)
        AP_TRY(ap_buffer_printf(&name, err, "-%08x", (unsigned)(hash & 0xffffffffu)));
    p->folder = name.data;
    name = (struct ap_buffer){0};
out:
    ap_buffer_free(&name);
    return status;
}

static ap_status check_new(const struct ap_sweep *s, int point, struct ap_error *err)
{
    for (int i = 0; i < point; i++)
        if (strcmp(s->points[i].folder, s->points[point].folder) == 0)
            for (int k = 0; k < s->n_axis; k++) {
                int first = ap_sweep_place(s, i, k), again = ap_sweep_place(s, point, k);
                if (first != again)
                    return ap_fail(
                        err, AP_INVALID, "sweep: %s has %s and %s, which are the same; keep one",
                        s->axes[k].key, s->axes[k].values[first], s->axes[k].values[again]);
            }
    return AP_OK;
}

/* The arm that the keys are about: a section's own, else the prompter. */
static const char *arm_of(const struct ap_sweep *s)
{
    static const char *const own[] = {"rlhf", "dpo", "ift"};
    for (size_t i = 0; i < AP_LEN(own); i++) {
        size_t n = strlen(own[i]);
        int k = 0;
        while (k < s->n_axis && strncmp(s->axes[k].key, own[i], n) == 0 && s->axes[k].key[n] == '.')
            k++;
        if (k == s->n_axis)
            return own[i];
    }
    return "align";
}

static ap_status check_arm(const struct ap_sweep *s, const struct ap_settings *settings,
                           struct ap_error *err)
{
    for (int i = 0; i < settings->eval.n_arms; i++)
        if (strcmp(settings->eval.arms[i], s->arm) == 0)
            return AP_OK;
    return ap_fail(err, AP_INVALID,
                   "sweep: eval.arms has no %s, the arm that %s is about; add it there", s->arm,
                   s->axes[0].key);
}

/* Of the first point: what all of them have from the recipe. */
static ap_status take_common(struct ap_sweep *s, const struct ap_settings *settings,
                             struct ap_error *err)
{
    struct ap_buffer title = {0};
    ap_status status = AP_OK;
    if (!(s->base = ap_strdup(settings->run.dir)) ||
        !(s->directory = ap_path_join(s->base, "sweep")))
        AP_TRY(no_memory(err));
    s->seed = (uint64_t)settings->run.seed;
    for (int i = 0; i < settings->run.n_from; i++)
        if (!(s->from[s->n_from++] = ap_strdup(settings->run.from[i])))
            AP_TRY(no_memory(err));
    if (s->n_from + s->n > AP_LIST_MAX)
        AP_TRY(ap_fail(err, AP_LIMIT,
                       "sweep: %d runs beside %d of run.from, expected at most %d together; give "
                       "fewer values",
                       s->n, s->n_from, AP_LIST_MAX));
    const char *name = strrchr(s->base, '/');
    AP_TRY(ap_buffer_puts(&title, "Sweep of ", err));
    for (int k = 0; k < s->n_axis; k++)
        AP_TRY(ap_buffer_printf(&title, err, "%s%s", k ? ", " : "", s->axes[k].key));
    AP_TRY(ap_buffer_printf(&title, err, ": %s", name ? name + 1 : s->base));
    s->title = title.data;
    title = (struct ap_buffer){0};
out:
    ap_buffer_free(&title);
    return status;
}

static ap_status make_point(struct ap_sweep *s, int i, struct ap_error *err)
{
    ap_status status;
    struct ap_recipe *recipe = NULL;
    struct ap_sweep_point *p = &s->points[i];
    AP_TRY(ap_sweep_recipe(s, i, NULL, 0, &recipe, err));
    for (int k = 0; k < s->n_axis; k++) {
        struct wanted w = {.key = s->axes[k].key};
        AP_TRY(ap_recipe_each_value(recipe, take_value, &w, err));
        p->values[k] = w.value;
    }
    AP_TRY(name_folder(s, p, err));
    AP_TRY(check_new(s, i, err));
    AP_TRY(check_arm(s, ap_recipe_settings(recipe), err));
    if (i == 0)
        AP_TRY(take_common(s, ap_recipe_settings(recipe), err));
out:
    ap_recipe_close(recipe);
    return status;
}

/* ---- entry points ---- */

static ap_status copy_texts(struct ap_sweep *s, const char *recipe, const char *const *overrides,
                            size_t n, struct ap_error *err)
{
    s->recipe = ap_strdup(recipe);
    s->overrides = ap_calloc(n ? n : 1, sizeof(*s->overrides));
    if (!s->recipe || !s->overrides)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        if (!(s->overrides[s->n_overrides++] = ap_strdup(overrides[i])))
            return no_memory(err);
    return AP_OK;
}

ap_status ap_sweep_open(struct ap_sweep **out, const char *recipe, const char *const *grid,
                        size_t n_grid, const char *const *overrides, size_t n_overrides,
                        const struct ap_sink *sink, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_sweep *s = ap_calloc(1, sizeof(*s));
    *out = NULL;
    if (!s)
        return no_memory(err);
    s->sink = sink;
    s->versions = ap_run_versions();
    AP_TRY(copy_texts(s, recipe, overrides, n_overrides, err));
    AP_TRY(read_grid(s, grid, n_grid, err));
    snprintf(s->arm, sizeof(s->arm), "%s", arm_of(s));
    for (int i = 0; i < s->n; i++)
        AP_TRY(make_point(s, i, err));
    *out = s;
    s = NULL;
out:
    ap_sweep_close(s);
    return status;
}

void ap_sweep_close(struct ap_sweep *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_overrides; i++)
        ap_free(s->overrides[i]);
    for (int k = 0; k < AP_SWEEP_KEYS_MAX; k++) {
        for (int i = 0; i < s->axes[k].n; i++)
            ap_free(s->axes[k].values[i]);
        ap_free(s->axes[k].key);
    }
    for (int i = 0; i < s->n; i++) {
        for (int k = 0; k < AP_SWEEP_KEYS_MAX; k++)
            ap_free(s->points[i].values[k]);
        ap_free(s->points[i].folder);
    }
    for (int i = 0; i < s->n_from; i++)
        ap_free(s->from[i]);
    ap_free(s->overrides);
    ap_free(s->recipe);
    ap_free(s->base);
    ap_free(s->directory);
    ap_free(s->title);
    ap_free(s);
}

const char *ap_sweep_directory(const struct ap_sweep *sweep)
{
    return sweep->directory;
}

ap_status ap_sweep_frontier(struct ap_sweep *sweep, const struct ap_frontier_samples *samples,
                            struct ap_error *err)
{
    enum { N = 40, BOOTSTRAP = 1000 };
    double lambda[N];
    double range =
        ap_bound_range(samples->reward, (size_t)samples->n_prompt * (size_t)samples->n_rewrite *
                                            (size_t)samples->n_answer);
    sweep->n_frontier = 0;
    if (!(range > 0))
        return AP_OK;
    ap_frontier_lambdas(lambda, N, 1e-3 * range, 10 * range); /* from the best rewrite to none */
    ap_status status =
        ap_frontier_of(sweep->frontier, samples, lambda, N, BOOTSTRAP, sweep->seed, err);
    if (status == AP_OK) {
        sweep->n_frontier = N;
        sweep->frontier_rewrites = samples->n_rewrite;
        sweep->frontier_answers = samples->n_answer;
    }
    return status;
}

struct ap_sweep_results ap_sweep_results(const struct ap_sweep *sweep, char **keys)
{
    struct ap_sweep_results r = {.title = sweep->title,
                                 .arm = sweep->arm,
                                 .keys = keys,
                                 .n_keys = sweep->n_axis,
                                 .n_judge = sweep->n_judge,
                                 .points = sweep->points,
                                 .n = sweep->n,
                                 .n_bootstrap = sweep->n_bootstrap,
                                 .frontier = sweep->frontier,
                                 .n_frontier = sweep->n_frontier,
                                 .frontier_rewrites = sweep->frontier_rewrites,
                                 .frontier_answers = sweep->frontier_answers,
                                 .version = sweep->versions.text};
    memcpy(r.judges, sweep->judges, sizeof(r.judges));
    for (int k = 0; k < sweep->n_axis; k++)
        keys[k] = sweep->axes[k].key;
    return r;
}
