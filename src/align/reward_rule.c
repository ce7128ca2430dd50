/* Rewards by rule (reward.h): length, regular expression, exact match. */
#include "align/reward.h"

#include "base/memory.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <string.h>

struct rule_reward {
    enum { RULE_LENGTH, RULE_REGEX, RULE_MATCH } rule;
    char *pattern;
    double length;
    pcre2_code *code;
    pcre2_match_data *match;
};

static void rule_free(void *self)
{
    struct rule_reward *r = self;
    if (!r)
        return;
    pcre2_match_data_free(r->match);
    pcre2_code_free(r->code);
    ap_free(r->pattern);
    ap_free(r);
}

/* Characters, not bytes: a budget in characters must not depend on the language. */
static double length_score(const struct rule_reward *r, const char *y)
{
    double n = 0;
    for (; *y; y++)
        n += ((unsigned char)*y & 0xC0) != 0x80;
    return -fabs(n - r->length) / r->length;
}

static double regex_score(const struct rule_reward *r, const char *y)
{
    return pcre2_match(r->code, (PCRE2_SPTR)y, strlen(y), 0, 0, r->match, NULL) >= 0;
}

static ap_status rule_score(void *self, const struct ap_scored *items, int n, double *out,
                            struct ap_error *err)
{
    struct rule_reward *r = self;
    (void)err;
    for (int i = 0; i < n; i++) {
        const char *y = items[i].y;
        out[i] = r->rule == RULE_LENGTH  ? length_score(r, y)
                 : r->rule == RULE_REGEX ? regex_score(r, y)
                                         : strcmp(y, r->pattern) == 0;
    }
    return AP_OK;
}

static ap_status compile(struct rule_reward *r, struct ap_error *err)
{
    int code;
    PCRE2_SIZE at;
    r->code = pcre2_compile((PCRE2_SPTR)r->pattern, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &code, &at, NULL);
    if (!r->code) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(code, text, sizeof(text));
        return ap_fail(err, AP_INVALID, "reward.pattern: '%s' at character %zu: %s", r->pattern,
                       (size_t)at, (char *)text);
    }
    r->match = pcre2_match_data_create_from_pattern(r->code, NULL);
    return r->match ? AP_OK : ap_fail(err, AP_MEMORY, "reward.pattern: out of memory");
}

ap_status ap_reward_rule(struct ap_reward *out, const char *rule, const char *pattern,
                         double length, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct rule_reward *r = ap_calloc(1, sizeof(*r));

    *out = (struct ap_reward){.gain = 1};
    if (!r)
        return ap_fail(err, AP_MEMORY, "reward rule %s: out of memory", rule);
    r->pattern = ap_strdup(pattern ? pattern : "");
    r->length = length;
    if (strcmp(rule, "length") == 0 && length > 0)
        r->rule = RULE_LENGTH;
    else if (strcmp(rule, "regex") == 0) {
        r->rule = RULE_REGEX;
        AP_TRY(compile(r, err));
    } else if (strcmp(rule, "match") == 0)
        r->rule = RULE_MATCH;
    else {
        status = ap_fail(err, AP_INVALID,
                         "reward.rule: got '%s' with length %g, expected length (with "
                         "reward.length > 0), regex or match (with reward.pattern)",
                         rule, length);
        goto out;
    }
    out->range = r->rule == RULE_LENGTH ? 0 : 1;
    out->self = r;
    out->score = rule_score;
    out->free = rule_free;
out:
    if (status != AP_OK)
        rule_free(r);
    return status;
}
