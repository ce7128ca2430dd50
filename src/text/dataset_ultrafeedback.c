/* UltraFeedback as its makers publish it: an instruction, several completions, each rated in four
 * aspects. The pair is the completion of the highest score and that of the lowest, the first in the
 * file among equals. Entry point: ap_ultrafeedback_record. */
#include "text/dataset_reader.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPLETIONS_MAX 256

/* Aspects from ASPECT on. */
const char *const ap_ultrafeedback_scores[] = {"fine-grained_score",
                                               "overall_score",
                                               "instruction_following",
                                               "honesty",
                                               "truthfulness",
                                               "helpfulness",
                                               NULL};
enum { ASPECT = 2 };

/* A number, or a text that is one; NAN where it is absent, null or "N/A". */
static ap_status read_rating(const json_t *o, const char *key, double *out, const char *where,
                             struct ap_error *err)
{
    const json_t *value = json_object_get(o, key);
    *out = NAN;
    if (!json_is_string(value))
        return ap_dataset_read_score(o, key, false, out, where, err);
    const char *text = json_string_value(value);
    char *end;
    if (!strcmp(text, "N/A"))
        return AP_OK;
    double number = strtod(text, &end);
    if (end == text || *end || isnan(number))
        return ap_fail(err, AP_FORMAT, "%s: \"%s\" is \"%.32s\", expected a number or N/A", where,
                       key, text);
    *out = number;
    return ap_dataset_check_range(key, number, where, err);
}

static ap_status read_aspect(const json_t *completion, const char *aspect, double *out,
                             const char *where, struct ap_error *err)
{
    const json_t *annotations = json_object_get(completion, "annotations");
    const json_t *annotation = json_object_get(annotations, aspect);
    *out = NAN;
    if (!annotation || json_is_null(annotation))
        return AP_OK;
    if (!json_is_object(annotation))
        return ap_fail(err, AP_FORMAT,
                       "%s: the annotation \"%s\" is no object, expected a Rating in it", where,
                       aspect);
    return read_rating(annotation, "Rating", out, where, err);
}

/* The mean over the aspects that have a rating, which is what fine-grained_score is; NAN for none.
 */
static ap_status mean_aspect(const json_t *completion, double *out, const char *where,
                             struct ap_error *err)
{
    double sum = 0;
    int n = 0;
    for (const char *const *aspect = ap_ultrafeedback_scores + ASPECT; *aspect; aspect++) {
        double rating;
        ap_status status = read_aspect(completion, *aspect, &rating, where, err);
        if (status != AP_OK)
            return status;
        if (!isnan(rating)) {
            sum += rating;
            n++;
        }
    }
    *out = n ? sum / n : NAN;
    return AP_OK;
}

static ap_status read_score(const json_t *completion, const char *wanted, double *out,
                            const char *where, struct ap_error *err)
{
    for (const char *const *aspect = ap_ultrafeedback_scores + ASPECT; *aspect; aspect++)
        if (!strcmp(*aspect, wanted))
            return read_aspect(completion, wanted, out, where, err);
    ap_status status = read_rating(completion, wanted, out, where, err);
    if (status != AP_OK || !isnan(*out) || strcmp(wanted, ap_ultrafeedback_scores[0]) != 0)
        return status;
    return mean_aspect(completion, out, where, err);
}

struct ranked {
    const char *best, *worst; /* responses, borrowed */
    double high, low;
    size_t n; /* completions with a score */
};

static ap_status rank(const json_t *completion, const char *wanted, struct ranked *k,
                      const char *where, struct ap_error *err)
{
    const char *response = NULL;
    double score = NAN;
    ap_status status;
    AP_TRY(ap_json_text(completion, "response", where, true, &response, NULL, err));
    AP_TRY(read_score(completion, wanted, &score, where, err));
    if (isnan(score))
        return AP_OK;
    if (k->n == 0 || score > k->high) {
        k->best = response;
        k->high = score;
    }
    if (k->n == 0 || score < k->low) {
        k->worst = response;
        k->low = score;
    }
    k->n++;
out:
    return status;
}

static ap_status rank_all(const struct ap_dataset_reader *r, const json_t *o, struct ranked *k,
                          const char *where, struct ap_error *err)
{
    const json_t *list = json_object_get(o, "completions");
    const char *wanted = r->options->score;
    char there[1300];
    if (!wanted || !strcmp(wanted, "auto"))
        wanted = ap_ultrafeedback_scores[0];
    if (!json_is_array(list) || json_array_size(list) > COMPLETIONS_MAX)
        return ap_fail(err, AP_FORMAT, "%s: \"completions\" is no list of at most %d", where,
                       COMPLETIONS_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        snprintf(there, sizeof(there), "%s: completions[%zu]", where, i);
        ap_status status = rank(json_array_get(list, i), wanted, k, there, err);
        if (status != AP_OK)
            return status;
    }
    return AP_OK;
}

ap_status ap_ultrafeedback_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                                  uint64_t number, struct ap_error *err)
{
    struct ap_example e = {0};
    struct ranked k = {0};
    ap_status status;
    (void)number;
    AP_TRY(ap_dataset_keep_key(r, o, "instruction", true, &e.prompt, where, err));
    AP_TRY(ap_dataset_check_prompt(&e, where, err));
    AP_TRY(ap_dataset_read_meta(r, o, &e, where, err));
    AP_TRY(rank_all(r, o, &k, where, err));
    if (k.n < 2)
        return ap_dataset_drop(r, AP_DROP_UNPAIRED);
    if (k.high == k.low)
        return ap_dataset_drop(r, AP_DROP_TIE);
    AP_TRY(ap_dataset_keep(r, k.best, strlen(k.best), &e.chosen, err));
    AP_TRY(ap_dataset_keep(r, k.worst, strlen(k.worst), &e.rejected, err));
    e.margin = k.high - k.low;
    AP_TRY(ap_dataset_add(r, &e, err));
out:
    return status;
}
