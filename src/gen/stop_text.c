/* Stop strings over a text that is decoded token by token (stop_text.h).
 *
 *     text   … | searched before | longest − 1 bytes | new bytes |
 *                                  └── searched again with them ──┘
 *     text  settled | a beginning of a stop string, if any |
 *
 * Entry points: ap_stop_text_begin, _push, _finish. */
#include "gen/stop_text.h"

#include <string.h>

ap_status ap_stop_text_begin(struct ap_stop_text *s, const struct ap_tokenizer *tokenizer,
                             char *const *stops, int n_stop, struct ap_error *err)
{
    ap_decoder_close(s->decoder);
    s->decoder = NULL;
    ap_buffer_clear(&s->text);
    s->stops = stops;
    s->n_stop = n_stop;
    s->longest = s->n_settled = 0;
    for (int i = 0; i < n_stop; i++)
        if (strlen(stops[i]) > s->longest)
            s->longest = strlen(stops[i]);
    return ap_decoder_open(&s->decoder, tokenizer, true, err);
}

static bool find_first(const struct ap_stop_text *s, size_t from, size_t *at)
{
    bool found = false;
    for (int i = 0; i < s->n_stop; i++) {
        const char *hit =
            memmem(s->text.data + from, s->text.len - from, s->stops[i], strlen(s->stops[i]));
        if (hit && (!found || (size_t)(hit - s->text.data) < *at))
            *at = (size_t)(hit - s->text.data);
        found = found || hit;
    }
    return found;
}

/* Whether all that stands behind `from` begins a stop string that is longer. */
static bool may_stop_at(const struct ap_stop_text *s, size_t from)
{
    size_t n = s->text.len - from;
    for (int i = 0; i < s->n_stop; i++)
        if (strnlen(s->stops[i], n + 1) > n && memcmp(s->stops[i], s->text.data + from, n) == 0)
            return true;
    return false;
}

static void settle(struct ap_stop_text *s)
{
    while (s->n_settled < s->text.len && !may_stop_at(s, s->n_settled))
        s->n_settled++;
}

static ap_status add(struct ap_stop_text *s, const char *text, size_t n, bool *hit, size_t *at,
                     struct ap_error *err)
{
    *hit = false;
    if (n == 0)
        return AP_OK;
    size_t old = s->text.len;
    ap_status status = ap_buffer_append(&s->text, text, n, err);
    if (status == AP_OK && s->n_stop > 0)
        *hit = find_first(s, old >= s->longest ? old - (s->longest - 1) : 0, at);
    if (status == AP_OK && !*hit)
        settle(s);
    return status;
}

ap_status ap_stop_text_push(struct ap_stop_text *s, int32_t id, bool *hit, size_t *at,
                            struct ap_error *err)
{
    const char *text;
    size_t n;
    ap_status status = ap_decoder_push(s->decoder, id, &text, &n, err);
    return status == AP_OK ? add(s, text, n, hit, at, err) : status;
}

ap_status ap_stop_text_finish(struct ap_stop_text *s, bool *hit, size_t *at, struct ap_error *err)
{
    const char *text;
    size_t n;
    ap_status status = ap_decoder_finish(s->decoder, &text, &n, err);
    return status == AP_OK ? add(s, text, n, hit, at, err) : status;
}

void ap_stop_text_free(struct ap_stop_text *s)
{
    ap_decoder_close(s->decoder);
    ap_buffer_free(&s->text);
    *s = (struct ap_stop_text){0};
}
