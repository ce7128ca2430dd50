/* Decoding token by token. Entry points: ap_decoder_open, _push, _finish, _close; ap_decoder_init,
 * _add, _end for one on the stack.
 *
 *     token ─► stage 0 ─► stage 1 ─► … ─► out        each passes on what is final, holds the rest
 */
#include "text/decoder.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/tokenizer.h"

#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD";

static ap_status feed(struct ap_decoder *d, int at, const char *text, size_t n,
                      struct ap_error *err);

static ap_status feed_replace(struct ap_decoder *d, int at, const char *text, size_t n,
                              struct ap_error *err)
{
    const struct ap_decoder_stage *stage = &d->t->decoder.stage[at];
    struct ap_buffer *out = &d->state[at].held;
    ap_status status = AP_OK;
    ap_buffer_clear(out);
    while (status == AP_OK) {
        const char *hit = n ? memmem(text, n, stage->pattern, stage->n_pattern) : NULL;
        if (!hit)
            break;
        size_t gap = (size_t)(hit - text);
        AP_TRY(ap_buffer_append(out, text, gap, err));
        AP_TRY(ap_buffer_append(out, stage->value, stage->n_value, err));
        text = hit + stage->n_pattern;
        n -= gap + stage->n_pattern;
    }
    AP_TRY(ap_buffer_append(out, text, n, err));
    AP_TRY(feed(d, at + 1, out->len ? out->data : "", out->len, err));
out:
    return status;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that a token like <0x0A> stands for, −1 for another token. */
static int byte_token(const char *text, size_t n)
{
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* text begins a character that more bytes could complete. */
static bool is_cut(const char *text, size_t n)
{
    unsigned char lead = (unsigned char)text[0];
    size_t whole = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    uint32_t cp;
    return lead >= 0xC2 && lead <= 0xF4 && n < whole && ap_utf8_decode(text, n, &cp) == n;
}

static bool is_whole(const char *text, size_t n, size_t *used)
{
    uint32_t cp;
    *used = ap_utf8_decode(text, n, &cp);
    return cp != AP_UTF8_REPLACEMENT || (*used == 3 && !memcmp(text, replacement, 3));
}

/* The reference decodes a run of byte tokens as a whole: when any of it is not UTF-8, every byte
 * becomes one U+FFFD. So a run is held until it ends or breaks. */
static ap_status break_run(struct ap_decoder *d, int at, struct ap_error *err)
{
    struct ap_decoder_state *s = &d->state[at];
    ap_status status = AP_OK;
    for (size_t i = 0; i < s->held.len && status == AP_OK; i++)
        status = feed(d, at + 1, replacement, 3, err);
    ap_buffer_clear(&s->held);
    s->checked = 0;
    s->broken = true;
    return status;
}

static ap_status end_run(struct ap_decoder *d, int at, struct ap_error *err)
{
    struct ap_decoder_state *s = &d->state[at];
    ap_status status = AP_OK;
    if (s->checked < s->held.len)
        status = break_run(d, at, err);
    else if (s->held.len)
        status = feed(d, at + 1, s->held.data, s->held.len, err);
    ap_buffer_clear(&s->held);
    s->checked = 0;
    s->broken = false;
    return status;
}

static ap_status feed_byte_fallback(struct ap_decoder *d, int at, const char *text, size_t n,
                                    struct ap_error *err)
{
    struct ap_decoder_state *s = &d->state[at];
    int value = byte_token(text, n);
    ap_status status;
    if (value < 0) {
        status = end_run(d, at, err);
        return status == AP_OK ? feed(d, at + 1, text, n, err) : status;
    }
    char byte = (char)value;
    status = ap_buffer_append(&s->held, &byte, 1, err);
    if (status != AP_OK || s->broken)
        return status == AP_OK ? break_run(d, at, err) : status;
    const char *tail = s->held.data + s->checked;
    size_t n_tail = s->held.len - s->checked, used;
    if (is_whole(tail, n_tail, &used))
        s->checked += used;
    else if (!is_cut(tail, n_tail))
        status = break_run(d, at, err);
    return status;
}

/* Pass on the characters of held that are whole, and one U+FFFD for each maximal subpart of what
 * is not UTF-8. A cut character at the end waits, unless this is the end. */
static ap_status release_bytes(struct ap_decoder *d, int at, bool end, struct ap_error *err)
{
    struct ap_buffer *held = &d->state[at].held;
    size_t from = 0, i = 0, used;
    ap_status status = AP_OK;
    for (; i < held->len; i += used) {
        if (is_whole(held->data + i, held->len - i, &used))
            continue;
        if (!end && is_cut(held->data + i, held->len - i))
            break;
        AP_TRY(feed(d, at + 1, held->data + from, i - from, err));
        AP_TRY(feed(d, at + 1, replacement, 3, err));
        from = i + used;
    }
    if (i > from)
        AP_TRY(feed(d, at + 1, held->data + from, i - from, err));
    if (held->len) {
        memmove(held->data, held->data + i, held->len - i);
        held->len -= i;
    }
out:
    return status;
}

static ap_status feed_byte_level(struct ap_decoder *d, int at, const char *text, size_t n,
                                 struct ap_error *err)
{
    ap_status status = ap_byte_level_decode(&d->state[at].held, text, n, err);
    return status == AP_OK ? release_bytes(d, at, false, err) : status;
}

static ap_status feed_strip(struct ap_decoder *d, int at, const char *text, size_t n,
                            struct ap_error *err)
{
    const struct ap_decoder_stage *stage = &d->t->decoder.stage[at];
    struct ap_decoder_state *s = &d->state[at];
    if (!stage->fused) {
        s->begun = false;
        s->n_stripped = 0;
    }
    while (!s->begun && n) {
        s->begun = s->n_stripped == stage->start || n < stage->n_value ||
                   memcmp(text, stage->value, stage->n_value) != 0;
        if (s->begun)
            break;
        text += stage->n_value;
        n -= stage->n_value;
        s->n_stripped++;
    }
    return feed(d, at + 1, text, n, err);
}

static ap_status feed(struct ap_decoder *d, int at, const char *text, size_t n,
                      struct ap_error *err)
{
    if (at == d->t->decoder.n)
        return ap_buffer_append(&d->out, text, n, err);
    switch (d->t->decoder.stage[at].kind) {
    case AP_DECODER_REPLACE:
        return feed_replace(d, at, text, n, err);
    case AP_DECODER_BYTE_FALLBACK:
        return feed_byte_fallback(d, at, text, n, err);
    case AP_DECODER_BYTE_LEVEL:
        return feed_byte_level(d, at, text, n, err);
    case AP_DECODER_STRIP:
        return feed_strip(d, at, text, n, err);
    default: /* Fuse: the stages after it know */
        return feed(d, at + 1, text, n, err);
    }
}

ap_status ap_decoder_add(struct ap_decoder *d, int32_t id, struct ap_error *err)
{
    const struct ap_vocab *v = &d->t->vocab;
    size_t n;
    if (d->skip_special && id >= v->n) /* a model may have rows beyond the tokenizer's tokens */
        return AP_OK;
    if (id < 0 || id >= v->n)
        return ap_fail(err, AP_INVALID, "token id %d is outside the vocabulary, expected 0 to %d",
                       id, v->n - 1);
    if (d->skip_special && (v->entry[id].flags & AP_VOCAB_SKIPPED))
        return AP_OK;
    const char *text = ap_vocab_shown(v, id, &n);
    ap_status status = AP_OK;
    if (d->t->decoder.join && d->any)
        status = ap_buffer_append(&d->out, " ", 1, err);
    d->any = true;
    return status == AP_OK ? feed(d, 0, text, n, err) : status;
}

ap_status ap_decoder_end(struct ap_decoder *d, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int at = 0; at < d->t->decoder.n && status == AP_OK; at++) {
        if (d->t->decoder.stage[at].kind == AP_DECODER_BYTE_FALLBACK)
            status = end_run(d, at, err);
        else if (d->t->decoder.stage[at].kind == AP_DECODER_BYTE_LEVEL)
            status = release_bytes(d, at, true, err);
    }
    return status;
}

void ap_decoder_init(struct ap_decoder *d, const struct ap_tokenizer *t, bool skip_special)
{
    *d = (struct ap_decoder){.t = t, .skip_special = skip_special};
}

void ap_decoder_free(struct ap_decoder *d)
{
    for (size_t i = 0; i < AP_LEN(d->state); i++)
        ap_buffer_free(&d->state[i].held);
    ap_buffer_free(&d->out);
}

ap_status ap_decoder_open(struct ap_decoder **out, const struct ap_tokenizer *t, bool skip_special,
                          struct ap_error *err)
{
    *out = ap_calloc(1, sizeof(**out));
    if (!*out)
        return ap_fail(err, AP_MEMORY, "no memory for a decoder; free some");
    ap_decoder_init(*out, t, skip_special);
    return AP_OK;
}

ap_status ap_decoder_push(struct ap_decoder *d, int32_t id, const char **text, size_t *n,
                          struct ap_error *err)
{
    ap_buffer_clear(&d->out);
    ap_status status = ap_decoder_add(d, id, err);
    *text = d->out.len ? d->out.data : "";
    *n = d->out.len;
    return status;
}

ap_status ap_decoder_finish(struct ap_decoder *d, const char **text, size_t *n,
                            struct ap_error *err)
{
    ap_buffer_clear(&d->out);
    ap_status status = ap_decoder_end(d, err);
    *text = d->out.len ? d->out.data : "";
    *n = d->out.len;
    return status;
}

void ap_decoder_close(struct ap_decoder *d)
{
    if (!d)
        return;
    ap_decoder_free(d);
    ap_free(d);
}
