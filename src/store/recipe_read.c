/* YAML to recipe, event by event: no tree is built, so that nothing in the file decides how much
 * memory or depth is used. Anchors, aliases and tags are refused. The first event that fits no key
 * ends the reading. Entry points: ap_recipe_read, ap_recipe_read_value. */
#include "store/recipe_inner.h"

#include "base/utf8.h"

#include <libfyaml.h>
#include <stdio.h>
#include <string.h>

struct reader {
    struct fy_parser *parser;
    struct fy_diag *diag;
    struct fy_event *event;   /* the current one */
    struct ap_recipe *recipe; /* NULL when a value stands alone */
    struct ap_origin at;      /* of the current event, or of the last one that has a place */
};

/* ---- events ---- */

static void reader_close(struct reader *r)
{
    if (r->event)
        fy_parser_event_free(r->parser, r->event);
    if (r->parser)
        fy_parser_destroy(r->parser);
    if (r->diag)
        fy_diag_destroy(r->diag);
}

static ap_status reader_open(struct reader *r, const char *text, size_t n, struct ap_error *err)
{
    struct fy_diag_cfg diag_options;
    fy_diag_cfg_default(&diag_options);
    diag_options.fp = NULL;
    r->diag = fy_diag_create(&diag_options);
    struct fy_parse_cfg options = {
        .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE,
        .diag = r->diag,
    };
    if (r->diag) {
        fy_diag_set_collect_errors(r->diag, true);
        r->parser = fy_parser_create(&options);
    }
    if (!r->parser || fy_parser_set_string(r->parser, text, n) != 0)
        return ap_fail(err, AP_MEMORY, "no memory for the YAML parser; free some");
    return AP_OK;
}

static ap_status fail_here(const struct reader *r, ap_status status, struct ap_error *err)
{
    return r->recipe ? ap_recipe_fail_at(r->recipe, &r->at, status, err) : status;
}

static ap_status syntax_error(struct reader *r, struct ap_error *err)
{
    void *iterator = NULL;
    const struct fy_diag_error *found = fy_diag_errors_iterate(r->diag, &iterator);
    if (found && found->line > 0)
        r->at = (struct ap_origin){
            .kind = AP_ORIGIN_RECIPE, .line = found->line, .column = found->column};
    const char *message = found ? found->msg : "it cannot be read";
    /* the slip that recipes invite: ${VAR} without quotes inside braces */
    const char *remedy = strstr(message, "flow mapping")
                             ? "quote what holds braces, as in {path: \"${VAR}/x\"}"
                             : "correct it";
    ap_fail(err, AP_FORMAT, "is not YAML: %s; %s", message, remedy);
    return fail_here(r, AP_FORMAT, err);
}

static ap_status check_event(const struct reader *r, struct ap_error *err)
{
    const struct fy_event *e = r->event;
    bool marked = e->type == FYET_ALIAS;
    if (e->type == FYET_SCALAR)
        marked = e->scalar.anchor || e->scalar.tag;
    else if (e->type == FYET_MAPPING_START)
        marked = e->mapping_start.anchor || e->mapping_start.tag;
    else if (e->type == FYET_SEQUENCE_START)
        marked = e->sequence_start.anchor || e->sequence_start.tag;
    if (!marked)
        return AP_OK;
    ap_fail(err, AP_UNSUPPORTED,
            "anchors, aliases and tags (&, *, !) are not supported; write the value out, or quote "
            "a text that begins with such a sign");
    return fail_here(r, AP_UNSUPPORTED, err);
}

/* The parser's mark of a quoted text stands behind the quote. */
static int in_quotes(const struct fy_event *e)
{
    if (e->type != FYET_SCALAR || !e->scalar.value)
        return 0;
    enum fy_scalar_style style = fy_token_scalar_style(e->scalar.value);
    return style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED;
}

static ap_status next(struct reader *r, struct ap_error *err)
{
    if (r->event)
        fy_parser_event_free(r->parser, r->event);
    r->event = fy_parser_parse(r->parser);
    if (!r->event)
        return syntax_error(r, err);
    const struct fy_mark *mark = fy_event_start_mark(r->event);
    if (mark)
        r->at = (struct ap_origin){.kind = AP_ORIGIN_RECIPE,
                                   .line = mark->line + 1,
                                   .column = mark->column + 1 - in_quotes(r->event)};
    return check_event(r, err);
}

static ap_status add_scalar(struct reader *r, struct ap_raw *raw, struct ap_error *err)
{
    size_t n = 0;
    struct fy_token *token = r->event->scalar.value;
    const char *text = token ? fy_token_get_text(token, &n) : "";
    if (!text)
        return ap_fail(err, AP_MEMORY, "no memory for a value; free some");
    return ap_raw_add(raw, text, n, token && fy_token_scalar_style(token) != FYSS_PLAIN, err);
}

/* ---- values ---- */

/* From the first event of a value to its last. */
static ap_status read_value(struct reader *r, struct ap_raw *raw, const char *key,
                            struct ap_error *err)
{
    ap_status status = AP_OK;
    if (r->event->type == FYET_SEQUENCE_START) {
        raw->list = true;
        for (;;) {
            status = next(r, err);
            if (status != AP_OK || r->event->type == FYET_SEQUENCE_END)
                return status;
            if (r->event->type != FYET_SCALAR)
                break;
            status = add_scalar(r, raw, err);
            if (status != AP_OK)
                break;
        }
    } else if (r->event->type == FYET_SCALAR) {
        status = add_scalar(r, raw, err);
        if (status == AP_OK)
            return AP_OK;
    }
    if (status == AP_OK)
        status = ap_fail(err, AP_INVALID, "%s holds keys or lists, expected a plain value", key);
    else
        ap_fail_prefix(err, status, "%s", key);
    return fail_here(r, status, err);
}

static ap_status read_row(struct reader *r, const char *key, const struct ap_setting_ref *ref,
                          struct ap_error *err)
{
    struct ap_raw raw = {0};
    struct ap_origin at = r->at;
    if (ref->row->flags & AP_SETTING_JSON && r->event->type == FYET_MAPPING_START)
        return fail_here(r,
                         ap_fail(err, AP_INVALID,
                                 "%s holds keys, expected " AP_JSON_OBJECT "; put it in quotes",
                                 key),
                         err);
    ap_status status = read_value(r, &raw, key, err);
    if (status == AP_OK)
        status = ap_recipe_put(r->recipe, key, ref, &raw, &at, err);
    ap_raw_free(&raw);
    return status;
}

/* ---- sections ---- */

static ap_status read_key(struct reader *r, const char *prefix, char key[AP_KEY_MAX],
                          struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_raw raw = {0};
    if (r->event->type != FYET_SCALAR)
        AP_TRY(ap_fail(err, AP_INVALID, "a key of %s is a list or holds keys, expected a name",
                       prefix[0] ? prefix : "the recipe"));
    AP_TRY(add_scalar(r, &raw, err));
    if (strchr(raw.text[0], '.'))
        AP_TRY(ap_fail(err, AP_INVALID,
                       "key '%.80s' holds a dot; nest it instead, as in align: {kl: 0.05}",
                       raw.text[0]));
    if (snprintf(key, AP_KEY_MAX, "%s%s%s", prefix, prefix[0] ? "." : "", raw.text[0]) >=
        AP_KEY_MAX)
        AP_TRY(ap_fail(err, AP_INVALID, "key '%.80s' is too long, no key has over %d bytes",
                       raw.text[0], AP_KEY_MAX - 1));
out:
    ap_raw_free(&raw);
    return status == AP_OK ? AP_OK : fail_here(r, status, err);
}

static ap_status read_mapping(struct reader *r, const char *prefix, struct ap_error *err);

/* A value in the place of a section is that of its first row. */
static ap_status read_first(struct reader *r, const char *key, const struct ap_setting_group *group,
                            struct ap_raw *raw, struct ap_error *err)
{
    char first[AP_KEY_MAX];
    struct ap_setting_ref ref;
    snprintf(first, sizeof(first), "%.*s.%s", AP_KEY_MAX - 32, key, group->rows[0].key);
    if (!ap_setting_find(first, &ref))
        return ap_recipe_unknown(r->recipe, first, &r->at, err);
    return ap_recipe_put(r->recipe, first, &ref, raw, &r->at, err);
}

/* An adapter may be "none": its first row, the rank, is 0. */
static ap_status read_none(struct reader *r, const char *key, const struct ap_setting_group *group,
                           struct ap_error *err)
{
    struct ap_raw zero = {0};
    ap_status status = ap_raw_add(&zero, "0", 1, false, err);
    if (status == AP_OK)
        status = read_first(r, key, group, &zero, err);
    ap_raw_free(&zero);
    return status;
}

/* "reward" in place of "rewards" is the slip that lists invite. */
static ap_status refuse_list(const struct reader *r, const char *key, struct ap_error *err)
{
    char plural[AP_KEY_MAX];
    snprintf(plural, sizeof(plural), "%.*ss", AP_KEY_MAX - 2, key);
    const struct ap_setting_group *named = ap_setting_group_find(plural);
    bool itself = ap_setting_group_find(key)->named && !strchr(key, '.');
    ap_fail(err, AP_INVALID, "%s is a list, expected %s below it%s%s%s", key,
            itself ? "names" : "keys", named ? "; several go below " : "", named ? plural : "",
            named ? ", each by a name" : "");
    return fail_here(r, AP_INVALID, err);
}

/* The numbered section of that name; NULL: none. */
static const struct ap_named_section *numbered_section(const char *key)
{
    size_t n;
    const struct ap_named_section *sections = ap_named_sections(&n);
    for (size_t i = 0; i < n; i++)
        if (sections[i].numbered && !strcmp(sections[i].prefix, key))
            return &sections[i];
    return NULL;
}

/* "prompter: [{…}, {…}]" is prompter.1, prompter.2 … */
static ap_status read_items(struct reader *r, const char *prefix, struct ap_error *err)
{
    for (int i = 1;; i++) {
        char key[AP_KEY_MAX];
        ap_status status = next(r, err);
        if (status != AP_OK || r->event->type == FYET_SEQUENCE_END)
            return status;
        snprintf(key, sizeof(key), "%.*s.%d", AP_KEY_MAX - 16, prefix, i);
        if (r->event->type != FYET_MAPPING_START) {
            ap_fail(err, AP_INVALID, "%s is a value or a list, expected keys such as {model: NAME}",
                    key);
            return fail_here(r, AP_INVALID, err);
        }
        status = ap_recipe_enter(r->recipe, key, ap_setting_group_find(key), &r->at, err);
        if (status == AP_OK)
            status = read_mapping(r, key, err);
        if (status != AP_OK)
            return status;
    }
}

/* A section without a value is an empty one. */
static ap_status read_section(struct reader *r, const char *key,
                              const struct ap_setting_group *group, const struct ap_origin *at,
                              struct ap_error *err)
{
    struct ap_raw raw = {0};
    ap_status status = ap_recipe_enter(r->recipe, key, group, at, err);
    if (status != AP_OK || r->event->type == FYET_MAPPING_START)
        return status == AP_OK ? read_mapping(r, key, err) : status;
    if (r->event->type == FYET_SEQUENCE_START)
        return numbered_section(key) ? read_items(r, key, err) : refuse_list(r, key, err);
    AP_TRY(read_value(r, &raw, key, err));
    if (ap_raw_is(&raw, "") || ap_raw_is(&raw, "~") || ap_raw_is(&raw, "null"))
        goto out;
    if (group->none && ap_raw_is(&raw, "none")) {
        AP_TRY(read_none(r, key, group, err));
        goto out;
    }
    if (group->value) {
        AP_TRY(read_first(r, key, group, &raw, err));
        goto out;
    }
    ap_fail(err, AP_INVALID, "%s is a value, expected keys below it%s", key,
            group->none ? ", or none" : "");
    status = fail_here(r, AP_INVALID, err);
out:
    ap_raw_free(&raw);
    return status;
}

static ap_status read_entry(struct reader *r, const char *key, struct ap_error *err)
{
    struct ap_setting_ref ref;
    struct ap_origin at = r->at;
    const struct ap_setting_group *group = ap_setting_group_find(key);
    bool is_row = ap_setting_find(key, &ref);
    if (!is_row && !group)
        return ap_recipe_unknown(r->recipe, key, &at, err);
    ap_status status = next(r, err);
    if (status != AP_OK)
        return status;
    return is_row ? read_row(r, key, &ref, err) : read_section(r, key, group, &at, err);
}

/* The depth is that of the table: a key that is in no table ends the reading. */
static ap_status read_mapping(struct reader *r, const char *prefix, struct ap_error *err)
{
    char key[AP_KEY_MAX];
    for (;;) {
        ap_status status = next(r, err);
        if (status != AP_OK || r->event->type == FYET_MAPPING_END)
            return status;
        status = read_key(r, prefix, key, err);
        if (status == AP_OK)
            status = read_entry(r, key, err);
        if (status != AP_OK)
            return status;
    }
}

/* ---- documents ---- */

/* A parser takes bytes that are not UTF-8 for empty values: they are looked for here. */
static ap_status check_text(const struct ap_recipe *recipe, const char *text, size_t n,
                            struct ap_error *err)
{
    struct ap_origin at = {.kind = AP_ORIGIN_RECIPE, .line = 1, .column = 1};
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t used = ap_utf8_decode(text + i, n - i, &cp);
        if (text[i] == '\0' || !ap_utf8_valid(text + i, used)) {
            ap_fail(err, AP_FORMAT, "holds a NUL or bytes that are not UTF-8; is it a recipe?");
            return ap_recipe_fail_at(recipe, &at, AP_FORMAT, err);
        }
        bool newline = text[i] == '\n';
        at.line += newline;
        at.column = newline ? 1 : at.column + 1;
        i += used;
    }
    return AP_OK;
}

static ap_status to_content(struct reader *r, bool *content, struct ap_error *err)
{
    *content = false;
    do {
        ap_status status = next(r, err);
        if (status != AP_OK || r->event->type == FYET_STREAM_END)
            return status;
    } while (r->event->type == FYET_STREAM_START || r->event->type == FYET_DOCUMENT_START);
    *content = true;
    return AP_OK;
}

static ap_status to_end(struct reader *r, struct ap_error *err)
{
    ap_status status = next(r, err);
    if (status == AP_OK && r->event->type == FYET_DOCUMENT_END)
        status = next(r, err);
    if (status != AP_OK || r->event->type == FYET_STREAM_END)
        return status;
    ap_fail(err, AP_INVALID, "a second document begins, expected one; remove it");
    return fail_here(r, AP_INVALID, err);
}

static ap_status read_document(struct reader *r, struct ap_error *err)
{
    bool content;
    ap_status status = to_content(r, &content, err);
    if (status != AP_OK)
        return status;
    if (!content || r->event->type != FYET_MAPPING_START) {
        ap_fail(err, AP_INVALID, "%s, expected keys such as models: and run:",
                content ? "is a list or a text" : "holds no keys");
        return fail_here(r, AP_INVALID, err);
    }
    status = read_mapping(r, "", err);
    return status == AP_OK ? to_end(r, err) : status;
}

ap_status ap_recipe_read(struct ap_recipe *recipe, const char *text, size_t n, struct ap_error *err)
{
    struct reader r = {.recipe = recipe, .at = {AP_ORIGIN_RECIPE, 1, 1, NULL}};
    ap_status status = check_text(recipe, text, n, err);
    if (status != AP_OK)
        return status;
    status = reader_open(&r, text, n, err);
    if (status == AP_OK)
        status = read_document(&r, err);
    reader_close(&r);
    return status;
}

ap_status ap_recipe_read_value(const char *text, size_t n, struct ap_raw *raw, struct ap_error *err)
{
    struct reader r = {0};
    bool content = false;
    ap_status status;
    AP_TRY(reader_open(&r, text, n, err));
    AP_TRY(to_content(&r, &content, err));
    if (!content)
        AP_TRY(ap_fail(err, AP_INVALID, "has no value"));
    AP_TRY(read_value(&r, raw, "the value", err));
    AP_TRY(to_end(&r, err));
out:
    reader_close(&r);
    return status;
}
