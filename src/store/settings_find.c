/* Look-ups on the table of keys: by place, by name, and the nearest to a misspelt one.
 * Entry points: ap_setting_at, ap_setting_find, ap_setting_group_find, ap_setting_nearest. */
#include "store/settings_table.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

static const char models_prefix[] = "models.";

bool ap_setting_at(size_t index, struct ap_setting_ref *ref)
{
    size_t n_groups, first = 0;
    const struct ap_setting_group *groups = ap_setting_groups(&n_groups);
    for (size_t g = 0; g < n_groups; g++) {
        if (index < first + groups[g].n) {
            *ref = (struct ap_setting_ref){&groups[g], &groups[g].rows[index - first], index};
            return true;
        }
        first += groups[g].n;
    }
    return false;
}

const char *ap_setting_model_name(const char *key, size_t *n)
{
    size_t skip = sizeof(models_prefix) - 1;
    if (strncmp(key, models_prefix, skip) != 0 || !key[skip] || key[skip] == '.')
        return NULL;
    *n = strcspn(key + skip, ".");
    return key + skip;
}

/* The key with a model's name replaced by NAME, as the table spells it. False when too long. */
static bool table_key(const char *key, char out[AP_KEY_MAX])
{
    size_t n = 0;
    const char *name = ap_setting_model_name(key, &n);
    int length = name ? snprintf(out, AP_KEY_MAX, "models.NAME%s", name + n)
                      : snprintf(out, AP_KEY_MAX, "%s", key);
    return length < AP_KEY_MAX;
}

static void full_key(const struct ap_setting_ref *ref, char out[AP_KEY_MAX])
{
    snprintf(out, AP_KEY_MAX, "%s.%s", ref->group->prefix, ref->row->key);
}

bool ap_setting_find(const char *key, struct ap_setting_ref *ref)
{
    char wanted[AP_KEY_MAX];
    size_t n_groups, first = 0;
    const struct ap_setting_group *groups = ap_setting_groups(&n_groups);
    char *leaf = table_key(key, wanted) ? strrchr(wanted, '.') : NULL;
    if (!leaf)
        return false;
    *leaf++ = '\0';
    for (size_t g = 0; g < n_groups; first += groups[g].n, g++) {
        for (size_t i = 0; !strcmp(groups[g].prefix, wanted) && i < groups[g].n; i++) {
            if (strcmp(groups[g].rows[i].key, leaf) != 0)
                continue;
            *ref = (struct ap_setting_ref){&groups[g], &groups[g].rows[i], first + i};
            return true;
        }
    }
    return false;
}

const struct ap_setting_group *ap_setting_group_find(const char *prefix)
{
    char wanted[AP_KEY_MAX];
    size_t n_groups;
    const struct ap_setting_group *groups = ap_setting_groups(&n_groups);
    if (!strcmp(prefix, "models"))
        return &groups[0];
    if (!table_key(prefix, wanted))
        return NULL;
    for (size_t g = 0; g < n_groups; g++)
        if (!strcmp(wanted, groups[g].prefix))
            return &groups[g];
    return NULL;
}

/* Levenshtein's distance of two texts below AP_KEY_MAX bytes. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[AP_KEY_MAX + 1], n = strlen(b);
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

/* A slip inside the last part is likelier than a key in the wrong section: that costs two edits. */
static size_t slip_cost(const char *wanted, const char *known)
{
    const char *a = strrchr(wanted, '.'), *b = strrchr(known, '.');
    size_t n_a = a ? (size_t)(a - wanted) : 0, n_b = b ? (size_t)(b - known) : 0;
    bool same = n_a == n_b && !strncmp(wanted, known, n_a);
    size_t whole = edit_distance(wanted, known) * 2;
    size_t leaf = edit_distance(a ? a + 1 : wanted, b ? b + 1 : known) * 2 + (same ? 0 : 5);
    return whole < leaf ? whole : leaf;
}

static void consider(const char *wanted, const char *known, size_t *least, char out[AP_KEY_MAX])
{
    size_t cost = slip_cost(wanted, known);
    if (cost < *least) {
        *least = cost;
        snprintf(out, AP_KEY_MAX, "%s", known);
    }
}

void ap_setting_nearest(const char *key, char out[AP_KEY_MAX])
{
    char wanted[AP_KEY_MAX], known[AP_KEY_MAX];
    struct ap_setting_ref ref;
    size_t n_groups, least = SIZE_MAX;
    const struct ap_setting_group *groups = ap_setting_groups(&n_groups);
    if (!table_key(key, wanted))
        wanted[0] = '\0';
    consider(wanted, "models", &least, out);
    for (size_t g = 1; g < n_groups; g++)
        consider(wanted, groups[g].prefix, &least, out);
    for (size_t i = 0; ap_setting_at(i, &ref); i++) {
        full_key(&ref, known);
        consider(wanted, known, &least, out);
    }
}
