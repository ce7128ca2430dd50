/* A recipe while it is made: its values and where each came from. For the recipe_*.c files only.
 *
 *   recipe.c ─► recipe_read.c (YAML events), recipe_override.c (--set)
 *                    └─► recipe_put.c: one value into ap_settings, with its place
 *            ─► recipe_derive.c, recipe_check*.c: derived values, then what only several keys
 *                    together can say
 *   recipe_text.c: resolved text, fingerprint, differences     recipe_help.c: help */
#ifndef AP_STORE_RECIPE_INNER_H
#define AP_STORE_RECIPE_INNER_H

#include "store/recipe.h"
#include "store/settings_value.h"

#include <string.h>

#define AP_RECIPE_BYTES_MAX ((size_t)1 << 20)
#define AP_LABEL_MAX 100    /* bytes */
#define AP_VARIABLE_MAX 128 /* bytes of an environment variable's name */

typedef enum ap_origin_kind {
    AP_ORIGIN_DEFAULT,
    AP_ORIGIN_RECIPE,
    AP_ORIGIN_SET,
    AP_ORIGIN_INHERITED,
} ap_origin_kind;

struct ap_origin {
    ap_origin_kind kind;
    int line, column;     /* RECIPE: from 1 */
    const char *override; /* SET: its whole text; borrowed, NULL once the recipe is open */
    char variable[AP_VARIABLE_MAX]; /* of a path: the environment variable first in it, or "" */
};

struct ap_recipe {
    struct ap_settings settings;
    char *name;                               /* as the caller spelt it */
    char *folder;                             /* absolute; paths are relative to it */
    struct ap_origin origin[AP_SETTINGS_MAX]; /* by index; those of named sections unused */
    struct ap_origin section[AP_GROUPS_MAX];  /* by group; DEFAULT where the recipe lacks it */
    /* of the items of named sections: by item and index, by item and group */
    struct ap_origin item_origin[AP_NAMED_ITEMS_MAX][AP_NAMED_KEYS_MAX];
    struct ap_origin item_section[AP_NAMED_ITEMS_MAX][AP_NAMED_GROUPS_MAX];
};

ap_status ap_recipe_read(struct ap_recipe *recipe, const char *text, size_t n,
                         struct ap_error *err);
/* A value alone, as YAML: of "--set eval.seeds=[1, 2]". */
ap_status ap_recipe_read_value(const char *text, size_t n, struct ap_raw *raw,
                               struct ap_error *err);
ap_status ap_recipe_override(struct ap_recipe *recipe, const char *text, struct ap_error *err);

/* Set the value of a key of the table; a key that the file has given already is an error. raw may
 * be changed (paths are expanded in place). */
ap_status ap_recipe_put(struct ap_recipe *recipe, const char *key, const struct ap_setting_ref *ref,
                        struct ap_raw *raw, const struct ap_origin *origin, struct ap_error *err);
/* Note that a section ("align", "models.small", "prompter.adapter") is there; makes the model. */
ap_status ap_recipe_enter(struct ap_recipe *recipe, const char *key,
                          const struct ap_setting_group *group, const struct ap_origin *origin,
                          struct ap_error *err);
ap_status ap_recipe_unknown(const struct ap_recipe *recipe, const char *key,
                            const struct ap_origin *origin, struct ap_error *err);
/* "recipe.yaml:3:7: " or "--set align.kl=x: " before the error's text. */
ap_status ap_recipe_fail_at(const struct ap_recipe *recipe, const struct ap_origin *origin,
                            ap_status status, struct ap_error *err);

/* ${VAR} and ${VAR:-default} replaced, then joined to folder, without slashes at its end. *out is
 * allocated (ap_free). variable: the first VAR, where it is "" so far. */
ap_status ap_recipe_expand(const char *folder, const char *text, char **out,
                           char variable[AP_VARIABLE_MAX], struct ap_error *err);

/* Struct that a row's values stand in; item: which one, for rows of a named section. */
void *ap_recipe_owner(const struct ap_settings *s, const struct ap_setting_ref *ref, int item);
/* Origin of "align.kl" and of section "align", "models.small"; the key must be one of the table's,
 * the name one of the recipe's. */
const struct ap_origin *ap_recipe_origin(const struct ap_recipe *recipe, const char *key);
const struct ap_origin *ap_recipe_section(const struct ap_recipe *recipe, const char *prefix);

ap_status ap_recipe_derive(struct ap_recipe *recipe, struct ap_error *err);
ap_status ap_recipe_check(const struct ap_recipe *recipe, struct ap_error *err);

/* ---- recipe_check.c, recipe_check_eval.c ---- */

static inline bool ap_is(const char *text, const char *word)
{
    return strcmp(text, word) == 0;
}
/* After ap_fail: the place of the key put before the text. */
ap_status ap_recipe_refuse(const struct ap_recipe *recipe, const char *key, struct ap_error *err);
ap_status ap_recipe_need(const struct ap_recipe *recipe, const char *key, const char *why,
                         struct ap_error *err);
/* Whether models: has the name; "" is none. */
ap_status ap_recipe_check_model(const struct ap_recipe *recipe, const char *key, const char *name,
                                struct ap_error *err);
/* Whether a judge of that name scores: reward, world or one of rewards. */
ap_status ap_recipe_check_judge(const struct ap_recipe *recipe, const char *key, const char *name,
                                struct ap_error *err);
ap_status ap_recipe_check_eval(const struct ap_recipe *recipe, struct ap_error *err);
ap_status ap_recipe_check_http(const struct ap_recipe *recipe, struct ap_error *err);

#endif
