/* The one table of a recipe's keys and the look-ups on it. Parsing, --set, defaults, help, the
 * resolved text and the fingerprint all walk these rows; nothing else in the tree knows a key by
 * its name.
 *
 * A group is a prefix ("align", "data.split") with rows relative to a struct inside ap_settings; a
 * struct that occurs twice (adapter, optimiser, rl) has one array of rows. "models.NAME" and
 * "rewards.NAME" are relative to an item of a list of structs, each under a name of the user's
 * choice, and so is "prompter.NAME", whose names are numbers. Not here: values as text
 * (settings_value.h). */
#ifndef AP_STORE_SETTINGS_TABLE_H
#define AP_STORE_SETTINGS_TABLE_H

#include "base/buffer.h"
#include "store/settings.h"

typedef enum ap_setting_type {
    AP_SETTING_INT,         /* int */
    AP_SETTING_INT64,       /* int64_t */
    AP_SETTING_REAL,        /* double */
    AP_SETTING_BOOL,        /* bool */
    AP_SETTING_TEXT,        /* char * */
    AP_SETTING_PATH,        /* char *: ${VAR} expanded, absolute */
    AP_SETTING_CHOICE,      /* char *: one of the choices */
    AP_SETTING_NAMES,       /* char *: a list, kept joined by commas */
    AP_SETTING_TEXT_LIST,   /* char *[AP_LIST_MAX] and an int */
    AP_SETTING_PATH_LIST,   /* the same, each as a PATH */
    AP_SETTING_CHOICE_LIST, /* the same, of the choices */
    AP_SETTING_INT64_LIST,  /* int64_t[AP_LIST_MAX] and an int */
    AP_SETTING_REAL_LIST,   /* double[AP_LIST_MAX] and an int */
} ap_setting_type;

#define AP_SETTING_AUTO 1u     /* the word auto stands for 0 or "" until the checks settle it */
#define AP_SETTING_SHARE 2u    /* a percentage may be given: 1% is 0.01 */
#define AP_SETTING_HARMLESS 4u /* does not change results: not in the fingerprint */
#define AP_SETTING_WHOLE 8u    /* a list that may be one text, commas and all */
#define AP_SETTING_SIZE 16u    /* bytes; 8GiB, 500MiB may be given */
#define AP_SETTING_JSON 32u    /* a text that is AP_JSON_OBJECT */
#define AP_JSON_OBJECT "the text of a JSON object such as {\"user\": \"me\"}"

struct ap_setting {
    const char *key; /* last part of the path */
    const char *help;
    const char *fallback; /* the default, as text; lists joined by commas */
    const char *choices;  /* joined by '|' */
    double min, max;      /* numbers; of a list each element */
    size_t offset;        /* of the value in the group's struct */
    size_t offset_n;      /* of a list's length */
    ap_setting_type type;
    unsigned flags;
};

/* A section that is a list of named structs. */
struct ap_named_section {
    const char *prefix;   /* "models" */
    size_t items, stride; /* of the list in ap_settings; of one of its items */
    size_t n_items;       /* of its length, an int, in ap_settings */
    size_t name;          /* of the char * in an item */
    int max, name_max;    /* items; bytes of a name */
    bool numbered; /* names are 1, 2 …: a list in YAML; one such section stands beside it */
};

struct ap_setting_group {
    const char *prefix;
    const char *help; /* NULL for the second group of one prefix */
    const struct ap_setting *rows;
    size_t n;
    size_t base; /* of the struct in ap_settings, or in the named section's item */
    const struct ap_named_section *named; /* NULL: none */
    const char *inherits; /* prefix of the group whose values stand in for missing ones */
    bool optional; /* its presence says something: left out of the resolved text when absent */
    bool none;     /* the word none in its place sets its first row to 0 */
    bool value;    /* a plain value in its place is that of its first row */
};

#define AP_GROUPS_MAX 48
#define AP_SETTINGS_MAX 512
#define AP_NAMED_ITEMS_MAX 16 /* of one section */
#define AP_NAMED_KEYS_MAX 96  /* rows of all named groups */
#define AP_NAMED_GROUPS_MAX 8
#define AP_KEY_MAX 160 /* bytes of a whole key, with its terminator */

/* Groups in the order in which they are written; those of named sections come first. */
const struct ap_setting_group *ap_setting_groups(size_t *n);
const struct ap_named_section *ap_named_sections(size_t *n);
/* One of its items, and how many there are. */
void *ap_named_item(const struct ap_named_section *section, const struct ap_settings *s, int i);
const char *ap_named_item_name(const struct ap_named_section *section, const struct ap_settings *s,
                               int i);
int *ap_named_count(const struct ap_named_section *section, const struct ap_settings *s);
/* The item of that name, or −1. */
int ap_named_find(const struct ap_named_section *section, const struct ap_settings *s,
                  const char *name, size_t n);

/* One row. index counts all rows in order; those of named sections come first. */
struct ap_setting_ref {
    const struct ap_setting_group *group;
    const struct ap_setting *row;
    size_t index;
};
/* False at the end. */
bool ap_setting_at(size_t index, struct ap_setting_ref *ref);

/* Row of "align.kl" or "models.small.path"; false when there is none. */
bool ap_setting_find(const char *key, struct ap_setting_ref *ref);
/* First group of "align", "data.split", "models" or "models.small"; NULL when there is none. */
const struct ap_setting_group *ap_setting_group_find(const char *prefix);
/* The section of "models.small" or "models.small.path", *name and *n its name in key. NULL for
 * other keys. */
const struct ap_named_section *ap_setting_name(const char *key, const char **name, size_t *n);
/* The valid key or section nearest to an unknown one, by edit distance; written to out. */
void ap_setting_nearest(const char *key, char out[AP_KEY_MAX]);

#endif
