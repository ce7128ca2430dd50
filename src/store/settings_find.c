/* Look-ups on the table of keys: by place, by name, and the nearest to a misspelt one.
 * Entry points: ap_setting_at, ap_setting_find, ap_setting_group_find, ap_setting_nearest. */
#include "store/settings_table.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

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

/* ---- named sections ---- */

void *ap_named_item(const struct ap_named_section *section, const struct ap_settings *s, int i)
{
    return (char *)s + section->items + (size_t)i * section->stride;
}

const char *ap_named_item_name(const struct ap_named_section *section, const struct ap_settings *s,
                               int i)
{
    return *(char **)((char *)ap_named_item(section, s, i) + section->name);
}

int *ap_named_count(const struct ap_named_section *section, const struct ap_settings *s)
{
    return (int *)((char *)s + section->n_items);
}

int ap_named_find(const struct ap_named_section *section, const struct ap_settings *s,
                  const char *name, size_t n)
{
    for (int i = 0; i < *ap_named_count(section, s); i++) {
        const char *known = ap_named_item_name(section, s, i);
        if (!strncmp(known, name, n) && !known[n])
            return i;
    }
    return -1;
}

const struct ap_named_section *ap_setting_name(const char *key, const char **name, size_t *n)
{
    size_t n_sections;
    const struct ap_named_section *sections = ap_named_sections(&n_sections);
    for (size_t i = 0; i < n_sections; i++) {
        size_t skip = strlen(sections[i].prefix);
        if (strncmp(key, sections[i].prefix, skip) != 0 || key[skip] != '.' || !key[skip + 1] ||
            key[skip + 1] == '.')
            continue;
        *name = key + skip + 1;
        *n = strcspn(*name, ".");
        if (sections[i].numbered && strspn(*name, "0123456789") != *n)
            continue; /* a key of the one that is no list */
        return &sections[i];
    }
    return NULL;
}

/* ---- by name ---- */

/* The key with the user's name replaced by NAME, as the table spells it. False when too long. */
static bool table_key(const char *key, char out[AP_KEY_MAX])
{
    size_t n = 0;
    const char *name;
    const struct ap_named_section *section = ap_setting_name(key, &name, &n);
    int length = section ? snprintf(out, AP_KEY_MAX, "%s.NAME%s", section->prefix, name + n)
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
    for (size_t g = 0; g < n_groups && groups[g].named; g++)
        if (!groups[g].named->numbered && !strcmp(prefix, groups[g].named->prefix))
            return &groups[g];
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
    for (size_t g = 0; g < n_groups; g++)
        consider(wanted, groups[g].named ? groups[g].named->prefix : groups[g].prefix, &least, out);
    for (size_t i = 0; ap_setting_at(i, &ref); i++) {
        full_key(&ref, known);
        consider(wanted, known, &least, out);
    }
}
