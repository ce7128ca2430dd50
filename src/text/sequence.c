/* Token sequences from chats. Entry points: ap_sequence_make, ap_sequence_chat,
 * ap_meta_prompt_apply. math.md (8), (9), (15a). */
#include "text/sequence.h"

#include "base/error.h"
#include "base/memory.h"
#include "text/template.h"

#include <stdio.h>
#include <string.h>

#define MESSAGES_MAX ((size_t)1 << 20)

const char ap_meta_prompt_default[] =
    "Rewrite the request below so that a language model answers it as well as possible. Keep its "
    "meaning and every detail, make it clear and specific, and do not answer it. Write the "
    "rewritten request and nothing else.\n\n{prompt}";

void ap_sequence_free(struct ap_sequence *s)
{
    ap_free(s->ids);
    ap_free(s->trained);
    *s = (struct ap_sequence){0};
}

static struct ap_message *chat_of(const struct ap_message *context, size_t n_context, const char *x,
                                  const char *y)
{
    if (n_context > MESSAGES_MAX)
        return NULL;
    struct ap_message *chat = ap_calloc(n_context + 2, sizeof(*chat));
    if (!chat)
        return NULL;
    if (n_context)
        memcpy(chat, context, n_context * sizeof(*chat));
    chat[n_context] = (struct ap_message){"user", x};
    chat[n_context + 1] = (struct ap_message){"assistant", y};
    return chat;
}

/* The ids become the sequence's own; those from n_prompt on are trained, but never the first. */
static ap_status take_ids(struct ap_sequence *s, struct ap_ids *ids, size_t n_prompt,
                          struct ap_error *err)
{
    uint8_t *trained = ap_calloc(ids->n, 1);
    if (!trained)
        return ap_fail(err, AP_MEMORY, "no memory for a sequence of %zu tokens", ids->n);
    if (n_prompt == 0 && ids->n)
        n_prompt = 1;
    for (size_t i = n_prompt; i < ids->n; i++)
        trained[i] = 1;
    *s = (struct ap_sequence){ids->data, trained, (int32_t)ids->n, (int32_t)n_prompt};
    *ids = (struct ap_ids){0};
    return AP_OK;
}

/* Cut from the front of a prompt; a BOS there stays, because models are lost without it. */
static void cut_front(struct ap_ids *ids, size_t max, int32_t bos)
{
    size_t kept = bos >= 0 && ids->n && ids->data[0] == bos && max > 0;
    memmove(ids->data + kept, ids->data + ids->n - (max - kept), (max - kept) * sizeof(int32_t));
    ids->n = max;
}

/* Make ids fit; *fits false says that the record is to be skipped. */
static ap_status limit_ids(struct ap_ids *ids, size_t *n_prompt, bool has_answer, int32_t bos,
                           int32_t max_tokens, ap_too_long too_long, bool *fits,
                           struct ap_error *err)
{
    size_t max = max_tokens > 0 ? (size_t)max_tokens : 0;
    *fits = true;
    if (ids->n <= max)
        return AP_OK;
    if (too_long == AP_TOO_LONG_ERROR)
        return ap_fail(err, AP_LIMIT,
                       "the text has %zu tokens, over the limit of %d; shorten it, raise the "
                       "context, or set data.too_long",
                       ids->n, max_tokens);
    *fits = too_long == AP_TOO_LONG_TRUNCATE && max > 0 && (!has_answer || *n_prompt < max);
    if (!*fits)
        return AP_OK;
    if (has_answer)
        ids->n = max;
    else
        cut_front(ids, max, bos);
    if (*n_prompt > ids->n)
        *n_prompt = ids->n;
    return AP_OK;
}

ap_status ap_sequence_make(struct ap_sequence *s, const struct ap_template *tpl,
                           const struct ap_message *context, size_t n_context, const char *x,
                           const char *answer, int32_t max_tokens, ap_too_long too_long, bool *fits,
                           struct ap_error *err)
{
    struct ap_ids ids = {0};
    struct ap_message *chat = chat_of(context, n_context, x, "");
    ap_status status;
    *s = (struct ap_sequence){0};
    *fits = false;
    if (!chat)
        AP_TRY(ap_fail(err, AP_MEMORY, "no memory for a chat"));
    AP_TRY(ap_template_render(tpl, chat, n_context + 1, true, NULL, NULL, &ids, err));
    size_t n_prompt = ids.n;
    if (answer)
        AP_TRY(ap_template_answer(tpl, answer, &ids, err));
    AP_TRY(limit_ids(&ids, &n_prompt, answer != NULL, ap_tokenizer_bos(tpl->t), max_tokens,
                     too_long, fits, err));
    if (*fits)
        AP_TRY(take_ids(s, &ids, n_prompt, err));
out:
    ap_ids_free(&ids);
    ap_free(chat);
    return status;
}

ap_status ap_sequence_chat(struct ap_sequence *s, const struct ap_template *tpl,
                           const struct ap_message *context, size_t n_context, const char *x,
                           const char *y, int32_t max_tokens, ap_too_long too_long, bool *fits,
                           struct ap_error *err)
{
    struct ap_ids ids = {0};
    struct ap_message *chat = chat_of(context, n_context, x, y);
    size_t none = 0;
    ap_status status;
    *s = (struct ap_sequence){0};
    *fits = false;
    if (!chat)
        AP_TRY(ap_fail(err, AP_MEMORY, "no memory for a chat"));
    AP_TRY(ap_template_render(tpl, chat, n_context + 2, false, NULL, NULL, &ids, err));
    AP_TRY(limit_ids(&ids, &none, true, -1, max_tokens, too_long, fits, err));
    if (*fits)
        AP_TRY(take_ids(s, &ids, ids.n, err));
out:
    ap_ids_free(&ids);
    ap_free(chat);
    return status;
}

char *ap_meta_prompt_apply(const char *meta_prompt, const char *x)
{
    static const char slot[] = "{prompt}";
    size_t n_slot = sizeof(slot) - 1, n_x = strlen(x), n_slots = 0, size;
    for (const char *p = meta_prompt; (p = strstr(p, slot)); p += n_slot)
        n_slots++;
    if (!*meta_prompt)
        return ap_strdup(x);
    if (__builtin_mul_overflow(n_x, n_slots ? n_slots : 1, &size) ||
        __builtin_add_overflow(size, strlen(meta_prompt) + 2, &size))
        return NULL;
    char *out = ap_calloc(size, 1);
    if (!out)
        return NULL;
    if (n_slots == 0) {
        snprintf(out, size, "%s\n%s", meta_prompt, x);
        return out;
    }
    char *to = out;
    for (const char *from = meta_prompt, *hit; *from; from = hit ? hit + n_slot : "") {
        hit = strstr(from, slot);
        size_t n = hit ? (size_t)(hit - from) : strlen(from);
        memcpy(to, from, n);
        to += n;
        if (hit) {
            memcpy(to, x, n_x);
            to += n_x;
        }
    }
    return out;
}
