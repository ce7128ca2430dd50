/* A recipe written out: the resolved text kept with a run, its fingerprint, and what differs in
 * another. Entry points: ap_recipe_resolved, ap_recipe_fingerprint, ap_recipe_differences,
 * ap_recipe_seeds, ap_recipe_has. */
#include "store/recipe_inner.h"

#include "base/random.h"

#include <stdio.h>
#include <string.h>

const struct ap_settings *ap_recipe_settings(const struct ap_recipe *recipe)
{
    return &recipe->settings;
}

bool ap_recipe_has(const struct ap_recipe *recipe, const char *section)
{
    const struct ap_setting_group *group = ap_setting_group_find(section);
    return group && ap_recipe_section(recipe, section)->kind != AP_ORIGIN_DEFAULT;
}

/* ---- resolved text ---- */

static ap_status write_origin(const struct ap_origin *origin, struct ap_buffer *out,
                              struct ap_error *err)
{
    switch (origin->kind) {
    case AP_ORIGIN_RECIPE:
        return ap_buffer_printf(out, err, "  # recipe:%d\n", origin->line);
    case AP_ORIGIN_SET:
        return ap_buffer_puts(out, "  # --set\n", err);
    case AP_ORIGIN_INHERITED:
        return ap_buffer_puts(out, "  # from align\n", err);
    case AP_ORIGIN_DEFAULT:
        break;
    }
    return ap_buffer_puts(out, "  # default\n", err);
}

static ap_status write_row(const struct ap_setting *row, const void *owner, int indent,
                           const struct ap_origin *origin, struct ap_buffer *out,
                           struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_buffer_printf(out, err, "%*s%s: ", indent, "", row->key));
    AP_TRY(ap_setting_write(row, owner, out, err));
    AP_TRY(write_origin(origin, out, err));
out:
    return status;
}

static ap_status write_item(const struct ap_recipe *recipe, const struct ap_named_section *section,
                            int item, struct ap_buffer *out, struct ap_error *err)
{
    struct ap_setting_ref ref;
    const struct ap_setting_group *before = NULL;
    ap_status status = AP_OK;
    for (size_t i = 0; ap_setting_at(i, &ref) && status == AP_OK; i++) {
        if (ref.group->named != section)
            continue;
        /* "rewards.NAME.adapter" stands one step further in */
        const char *deeper = strchr(ref.group->prefix + strlen(section->prefix) + 1, '.');
        if (ref.group != before && deeper)
            AP_TRY(ap_buffer_printf(out, err, "    %s:\n", deeper + 1));
        before = ref.group;
        AP_TRY(write_row(ref.row, ap_recipe_owner(&recipe->settings, &ref, item), deeper ? 6 : 4,
                         &recipe->item_origin[item][i], out, err));
    }
out:
    return status;
}

static ap_status write_named(const struct ap_recipe *recipe, struct ap_buffer *out,
                             struct ap_error *err)
{
    size_t n_sections;
    const struct ap_named_section *sections = ap_named_sections(&n_sections);
    const struct ap_settings *s = &recipe->settings;
    ap_status status = AP_OK;
    for (size_t k = 0; k < n_sections; k++) {
        int n = *ap_named_count(&sections[k], s);
        if (n)
            AP_TRY(ap_buffer_printf(out, err, "%s:\n", sections[k].prefix));
        for (int i = 0; i < n; i++) {
            AP_TRY(sections[k].numbered ? ap_buffer_puts(out, "  -\n", err)
                                        : ap_buffer_printf(out, err, "  %s:\n",
                                                           ap_named_item_name(&sections[k], s, i)));
            AP_TRY(write_item(recipe, &sections[k], i, out, err));
        }
    }
out:
    return status;
}

/* Of a list the elements stand for the section. */
static bool is_in_list(const struct ap_settings *s, const char *prefix)
{
    return s->n_prompters > 0 &&
           (!strcmp(prefix, "prompter") || !strcmp(prefix, "prompter.adapter"));
}

/* A section that says something by being there is left out when it is not. */
static bool is_written(const struct ap_recipe *recipe, const struct ap_setting_group *group)
{
    char parent[AP_KEY_MAX];
    if (is_in_list(&recipe->settings, group->prefix))
        return false;
    snprintf(parent, sizeof(parent), "%.*s", (int)strcspn(group->prefix, "."), group->prefix);
    return !group->optional || ap_recipe_has(recipe, parent);
}

static ap_status write_heading(const struct ap_setting_group *group, const char *before,
                               int *indent, struct ap_buffer *out, struct ap_error *err)
{
    const char *dot = strchr(group->prefix, '.');
    *indent = dot ? 4 : 2;
    if (!strcmp(before, group->prefix))
        return AP_OK;
    return ap_buffer_printf(out, err, "%*s%s:\n", dot ? 2 : 0, "", dot ? dot + 1 : group->prefix);
}

ap_status ap_recipe_resolved(const struct ap_recipe *recipe, struct ap_buffer *out,
                             struct ap_error *err)
{
    size_t n_groups, index = 0;
    ap_status status;
    const char *before = "";
    const struct ap_setting_group *groups = ap_setting_groups(&n_groups);
    AP_TRY(ap_buffer_puts(out,
                          "# The resolved recipe of a run: every value that was used, and where it "
                          "came from.\n",
                          err));
    AP_TRY(write_named(recipe, out, err));
    for (size_t g = 0; g < n_groups; index += groups[g].n, g++) {
        int indent;
        const void *owner = (const char *)&recipe->settings + groups[g].base;
        if (groups[g].named || !is_written(recipe, &groups[g]))
            continue;
        AP_TRY(write_heading(&groups[g], before, &indent, out, err));
        before = groups[g].prefix;
        for (size_t i = 0; i < groups[g].n; i++)
            AP_TRY(
                write_row(&groups[g].rows[i], owner, indent, &recipe->origin[index + i], out, err));
    }
out:
    return status;
}

/* ---- fingerprint and differences ---- */

/* Sections of which a recipe has all or nothing, and which change what is trained: without one its
 * keys say nothing. */
static const char *const whole_sections[] = {"rlhf", "dpo", "ift"};

static bool has_section(const struct ap_settings *s, const char *prefix)
{
    if (!strcmp(prefix, "dpo"))
        return s->has_dpo;
    if (!strcmp(prefix, "ift"))
        return s->has_ift;
    if (!strcmp(prefix, "bound"))
        return s->has_bound;
    if (is_in_list(s, prefix))
        return false;
    return strcmp(prefix, "rlhf") != 0 || s->has_rlhf;
}

/* A model that plays no part in training: what judges that compare have, or nobody. */
static bool is_idle_model(const struct ap_settings *s, const char *name)
{
    int n_prompter, n_reward;
    const struct ap_prompter_settings *prompters = ap_settings_prompters(s, &n_prompter);
    const struct ap_reward_settings *rewards = ap_settings_rewards(s, &n_reward);
    bool used = !strcmp(s->pretrain.model, name) || !strcmp(ap_settings_target(s), name);
    for (int i = 0; i < n_prompter; i++)
        used = used || !strcmp(prompters[i].model, name);
    for (int i = 0; i < n_reward; i++)
        used = used || (ap_reward_is_model(&rewards[i]) && !strcmp(rewards[i].model, name));
    return !used;
}

static bool is_harmless(const struct ap_settings *s, const struct ap_setting_ref *ref, int item)
{
    if (strcmp(ref->group->prefix, "models.NAME") == 0 && is_idle_model(s, s->models[item].name))
        return true;
    return ref->row->flags & AP_SETTING_HARMLESS;
}

static void key_of(const struct ap_recipe *recipe, const struct ap_setting_ref *ref, int item,
                   char key[AP_KEY_MAX])
{
    const struct ap_named_section *named = ref->group->named;
    if (named)
        snprintf(key, AP_KEY_MAX, "%s.%s%s.%s", named->prefix,
                 ap_named_item_name(named, &recipe->settings, item),
                 ref->group->prefix + strlen(named->prefix) + strlen(".NAME"), ref->row->key);
    else
        snprintf(key, AP_KEY_MAX, "%s.%s", ref->group->prefix, ref->row->key);
}

/* Text of one value, "" for a key that plays no part; key gets its full name. item: of a named
 * section; harmless: keys that change no result of training play a part, too. */
static ap_status value_text(const struct ap_recipe *recipe, const struct ap_setting_ref *ref,
                            int item, bool harmless, char key[AP_KEY_MAX], struct ap_buffer *out,
                            struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    bool absent = !has_section(s, ref->group->prefix);
    ap_buffer_clear(out);
    key_of(recipe, ref, item, key);
    if (absent || (!harmless && is_harmless(s, ref, item)))
        return ap_buffer_puts(out, "", err);
    return ap_setting_write(ref->row, ap_recipe_owner(s, ref, item), out, err);
}

ap_status ap_recipe_each_value(const struct ap_recipe *recipe, ap_value_fn fn, void *context,
                               struct ap_error *err)
{
    struct ap_setting_ref ref;
    struct ap_buffer value = {0};
    const struct ap_settings *s = &recipe->settings;
    ap_status status = AP_OK;
    for (size_t i = 0; ap_setting_at(i, &ref); i++) {
        int n = ref.group->named ? *ap_named_count(ref.group->named, s) : 1;
        for (int item = 0; item < n; item++) {
            char key[AP_KEY_MAX];
            bool harmless = is_harmless(s, &ref, item);
            key_of(recipe, &ref, item, key);
            ap_buffer_clear(&value);
            AP_TRY(ap_setting_write(ref.row, ap_recipe_owner(s, &ref, item), &value, err));
            AP_TRY(fn(context, key, value.data, harmless, err));
        }
    }
out:
    ap_buffer_free(&value);
    return status;
}

/* Order of the names in the file does not count, hence the sum. */
static uint64_t hash_value(const struct ap_recipe *recipe, const struct ap_setting_ref *ref,
                           int item, struct ap_buffer *line)
{
    char key[AP_KEY_MAX];
    struct ap_buffer value = {0};
    uint64_t hash = 0;
    ap_buffer_clear(line);
    if (value_text(recipe, ref, item, false, key, &value, NULL) == AP_OK && value.len &&
        ap_buffer_printf(line, NULL, "%s=%s", key, value.data) == AP_OK)
        hash = ap_hash(line->data, line->len);
    ap_buffer_free(&value);
    return hash;
}

uint64_t ap_recipe_fingerprint(const struct ap_recipe *recipe)
{
    struct ap_setting_ref ref;
    struct ap_buffer line = {0};
    uint64_t sum = 0;
    for (size_t i = 0; ap_setting_at(i, &ref); i++) {
        int n = ref.group->named ? *ap_named_count(ref.group->named, &recipe->settings) : 1;
        for (int item = 0; item < n; item++)
            sum += hash_value(recipe, &ref, item, &line);
    }
    ap_buffer_free(&line);
    return sum;
}

struct differences {
    ap_difference_kind kind;
    int n;
    struct ap_buffer *out;
    struct ap_error *err;
};

static bool is_seed(const char *key)
{
    size_t n = strlen(key);
    return n > 5 && strcmp(key + n - 5, ".seed") == 0;
}

/* Of a file in quotes, its own name: copies of a recipe stand in folders of their own. */
static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* row: NULL for what is no key. */
static bool counts(const struct differences *d, const char *key, const struct ap_setting *row,
                   const char *a, const char *b)
{
    if (d->kind == AP_DIFFER_ANY)
        return true;
    if (is_seed(key) != (d->kind == AP_DIFFER_SEEDS))
        return false;
    if (!row || row->type != AP_SETTING_PATH)
        return true;
    return strcmp(row->key, "tokenizer") != 0 && strcmp(file_name(a), file_name(b)) != 0;
}

static ap_status add_difference(struct differences *d, const char *key,
                                const struct ap_setting *row, const char *a, const char *b)
{
    if (!strcmp(a, b) || !counts(d, key, row, a, b))
        return AP_OK;
    if (++d->n > 4)
        return AP_OK;
    return ap_buffer_printf(d->out, d->err, "%s%s is %.60s there and %.60s here",
                            d->n > 1 ? ", " : "", key, a[0] ? a : "absent", b[0] ? b : "absent");
}

/* The item of `other` that has the name of a's i-th, or −1. */
static int same_name(const struct ap_named_section *section, const struct ap_settings *a, int i,
                     const struct ap_settings *other)
{
    const char *name = ap_named_item_name(section, a, i);
    return ap_named_find(section, other, name, strlen(name));
}

/* A name that says nothing of scores: of a judge that compares, of a model that only such a judge
 * has. */
static bool is_unscored(const struct ap_named_section *section, const struct ap_settings *s,
                        const char *name)
{
    return strcmp(section->prefix, "judges") == 0 ||
           (strcmp(section->prefix, "models") == 0 && is_idle_model(s, name));
}

static ap_status add_name(struct differences *d, const struct ap_named_section *section,
                          const struct ap_settings *s, const char *a, const char *b)
{
    bool skip = d->kind == AP_DIFFER_OTHERS && is_unscored(section, s, a[0] ? a : b);
    return skip ? AP_OK : add_difference(d, section->prefix, NULL, a, b);
}

/* Names that one of them lacks. */
static ap_status name_differences(struct differences *d, const struct ap_settings *a,
                                  const struct ap_settings *b)
{
    ap_status status = AP_OK;
    size_t n_sections;
    const struct ap_named_section *x = ap_named_sections(&n_sections);
    for (size_t k = 0; k < n_sections; k++, x++) {
        for (int i = 0; i < *ap_named_count(x, a); i++)
            if (same_name(x, a, i, b) < 0)
                AP_TRY(add_name(d, x, a, ap_named_item_name(x, a, i), ""));
        for (int i = 0; i < *ap_named_count(x, b); i++)
            if (same_name(x, b, i, a) < 0)
                AP_TRY(add_name(d, x, b, "", ap_named_item_name(x, b, i)));
    }
out:
    return status;
}

/* Keys that change what an evaluation finds, though nothing that is trained. What is compared by
 * what run.db holds is not among them, nor what is of one's own choice. */
static bool scores_depend(const struct ap_setting_ref *ref)
{
    static const char *const not_those[] = {"arms", "judges", "seeds",
                                            "path", "noise",  "bootstrap"};
    const char *prefix = ref->group->prefix;
    if (strcmp(prefix, "eval") != 0 && strcmp(prefix, "guard") != 0)
        return false;
    for (size_t i = 0; i < AP_LEN(not_those); i++)
        if (strcmp(ref->row->key, not_those[i]) == 0)
            return false;
    return true;
}

/* One row, of every item that both have. */
static ap_status row_differences(struct differences *d, const struct ap_recipe *a,
                                 const struct ap_recipe *b, const struct ap_setting_ref *ref)
{
    struct ap_buffer x = {0}, y = {0};
    const struct ap_named_section *named = ref->group->named;
    ap_status status = AP_OK;
    bool harmless = d->kind == AP_DIFFER_OTHERS && scores_depend(ref);
    int n_items = named ? *ap_named_count(named, &a->settings) : 1;
    for (int i = 0; i < n_items; i++) {
        char key[AP_KEY_MAX];
        int other = named ? same_name(named, &a->settings, i, &b->settings) : 0;
        if (other < 0)
            continue;
        AP_TRY(value_text(a, ref, i, harmless, key, &x, d->err));
        AP_TRY(value_text(b, ref, other, harmless, key, &y, d->err));
        AP_TRY(add_difference(d, key, ref->row, x.data, y.data));
    }
out:
    ap_buffer_free(&x);
    ap_buffer_free(&y);
    return status;
}

ap_status ap_recipe_differences(const struct ap_recipe *a, const struct ap_recipe *b,
                                ap_difference_kind kind, struct ap_buffer *out,
                                struct ap_error *err)
{
    struct ap_setting_ref ref;
    const struct ap_settings *x = &a->settings, *y = &b->settings;
    struct differences d = {.kind = kind, .out = out, .err = err};
    ap_status status;
    AP_TRY(ap_buffer_puts(out, "", err));
    for (size_t i = 0; i < AP_LEN(whole_sections); i++)
        AP_TRY(add_difference(&d, whole_sections[i], NULL,
                              has_section(x, whole_sections[i]) ? "present" : "",
                              has_section(y, whole_sections[i]) ? "present" : ""));
    AP_TRY(name_differences(&d, x, y));
    for (size_t i = 0; ap_setting_at(i, &ref); i++)
        if (has_section(x, ref.group->prefix) == has_section(y, ref.group->prefix))
            AP_TRY(row_differences(&d, a, b, &ref));
    if (d.n > 4)
        AP_TRY(ap_buffer_printf(out, err, " and %d more", d.n - 4));
out:
    return status;
}

ap_status ap_recipe_seeds(const struct ap_recipe *recipe, struct ap_buffer *out,
                          struct ap_error *err)
{
    struct ap_setting_ref ref;
    struct ap_buffer value = {0};
    ap_status status;
    AP_TRY(ap_buffer_puts(out, "", err));
    for (size_t i = 0; ap_setting_at(i, &ref); i++) {
        char key[AP_KEY_MAX];
        if (ref.group->named || strcmp(ref.row->key, "seed") != 0)
            continue;
        AP_TRY(value_text(recipe, &ref, 0, false, key, &value, err));
        if (value.len > 0 && strcmp(value.data, "auto") != 0)
            AP_TRY(
                ap_buffer_printf(out, err, "%s%s %s", out->len > 0 ? ", " : "", key, value.data));
    }
out:
    ap_buffer_free(&value);
    return status;
}
