/* The two-order protocol of a judge that compares (judge_pairs.h). */
#include "align/judge_pairs.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <string.h>

const char ap_judge_question[] =
    "Two assistants answered the same request. Which answer serves the person who asked better? "
    "Neither the order of the answers nor their length counts.\n\n"
    "{context}Request:\n{prompt}\n\nAnswer A:\n{a}\n\nAnswer B:\n{b}\n\n"
    "Give a short reason. Then write a last line that is one of: "
    "\"Verdict: A\", \"Verdict: B\", \"Verdict: tie\".";

void ap_asker_free(struct ap_asker *asker)
{
    if (asker->self && asker->free)
        asker->free(asker->self);
    *asker = (struct ap_asker){0};
}

void ap_judged_free(struct ap_judged *judged, int n)
{
    for (int i = 0; i < n; i++) {
        ap_free(judged[i].first);
        ap_free(judged[i].second);
        judged[i].first = judged[i].second = NULL;
    }
}

static ap_status put_context(struct ap_buffer *b, const struct ap_pair *pair, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (size_t i = 0; i < pair->n_context; i++) {
        AP_TRY(ap_buffer_puts(b, pair->context[i].role, err));
        AP_TRY(ap_buffer_puts(b, ": ", err));
        AP_TRY(ap_buffer_puts(b, pair->context[i].content, err));
        AP_TRY(ap_buffer_puts(b, "\n\n", err));
    }
out:
    return status;
}

ap_status ap_judge_render(const char *question, const struct ap_pair *pair, bool swapped,
                          char **out, struct ap_error *err)
{
    const struct {
        const char *slot, *text; /* text NULL: the context */
    } slots[] = {{"{context}", NULL},
                 {"{prompt}", pair->x},
                 {"{a}", swapped ? pair->baseline : pair->arm},
                 {"{b}", swapped ? pair->arm : pair->baseline}};
    struct ap_buffer b = {0};
    ap_status status;
    *out = NULL;
    AP_TRY(ap_buffer_puts(&b, "", err));
    for (const char *p = question; *p != '\0';) {
        size_t plain = strcspn(p + 1, "{") + 1, i = 0;
        while (i < AP_LEN(slots) && strncmp(p, slots[i].slot, strlen(slots[i].slot)) != 0)
            i++;
        if (i == AP_LEN(slots)) {
            AP_TRY(ap_buffer_append(&b, p, plain, err));
            p += plain;
            continue;
        }
        AP_TRY(slots[i].text != NULL ? ap_buffer_puts(&b, slots[i].text, err)
                                     : put_context(&b, pair, err));
        p += strlen(slots[i].slot);
    }
    AP_TRY(ap_buffer_append(&b, "", 1, err));
    *out = b.data;
    b.data = NULL;
out:
    ap_buffer_free(&b);
    return status;
}

ap_status ap_judge_pairs(const struct ap_asker *asker, const char *question,
                         const struct ap_pair *pairs, int n, struct ap_judged *out,
                         struct ap_error *err)
{
    const size_t room = 2 * (size_t)n + 1;
    ap_status status = AP_OK;
    int n_asked = 0;
    char **questions = ap_calloc(room, sizeof(*questions));
    char **replies = ap_calloc(room, sizeof(*replies)), ***slots = ap_calloc(room, sizeof(*slots));
    if (!questions || !replies || !slots) {
        status = ap_fail(err, AP_MEMORY, "judge: no memory for %d pairs; free some memory", n);
        goto out;
    }
    for (int i = 0; i < n; i++) {
        out[i].outcome =
            strcmp(pairs[i].arm, pairs[i].baseline) == 0 ? AP_OUTCOME_SAME : AP_OUTCOME_NONE;
        for (int swapped = 0; swapped < 2 && out[i].outcome != AP_OUTCOME_SAME; swapped++) {
            char **slot = swapped ? &out[i].second : &out[i].first;
            if (*slot)
                continue;
            AP_TRY(ap_judge_render(question ? question : ap_judge_question, &pairs[i], swapped,
                                   &questions[n_asked], err));
            slots[n_asked++] = slot;
        }
    }
    if (n_asked > 0)
        status = asker->ask(asker->self, questions, n_asked, replies, err);
    for (int k = 0; k < n_asked; k++)
        *slots[k] = replies[k];
    for (int i = 0; i < n; i++)
        if (out[i].outcome != AP_OUTCOME_SAME)
            out[i].outcome =
                ap_outcome_of(ap_verdict_parse(out[i].first), ap_verdict_parse(out[i].second));
out:
    for (int i = 0; questions && i < n_asked; i++)
        ap_free(questions[i]);
    ap_free(questions);
    ap_free(replies);
    ap_free(slots);
    return status;
}
