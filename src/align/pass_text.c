/* Prompts of a later pass (pass_text.h). */
#include "align/pass_text.h"

#include "base/memory.h"

ap_status ap_text_pass_prompt(const struct ap_text_pass *pass, const struct ap_prompt *from,
                              const char *text, struct ap_prompt *out, struct ap_error *err)
{
    struct ap_sequence s = {0};
    bool fits;
    char *wrapped = ap_meta_prompt_apply(pass->meta_prompt, text ? text : ap_prompt_seen(from));
    if (!wrapped)
        return ap_fail(err, AP_MEMORY, "prompt %llu: out of memory",
                       (unsigned long long)from->record);
    ap_status status = ap_sequence_make(&s, pass->lm->chat, from->context, from->n_context, wrapped,
                                        NULL, pass->max_tokens, AP_TOO_LONG_TRUNCATE, &fits, err);
    ap_free(wrapped);
    if (status != AP_OK)
        return ap_fail_prefix(err, status, "prompt %llu", (unsigned long long)from->record);
    *out = (struct ap_prompt){.record = from->record,
                              .context = from->context,
                              .n_context = from->n_context,
                              .x = from->x,
                              .meta = from->meta,
                              .ids = s.ids,
                              .n = s.n};
    s.ids = NULL; /* taken over */
    ap_sequence_free(&s);
    return AP_OK;
}

ap_status ap_text_pass_see(void *self, const struct ap_pass_input *inputs, int n,
                           struct ap_error *err)
{
    struct ap_text_pass *pass = self;
    struct ap_prompts *out = pass->prompts;
    ap_prompts_free(out);
    out->items = ap_calloc((size_t)n, sizeof(*out->items));
    if (!out->items)
        return ap_fail(err, AP_MEMORY, "%d prompts: out of memory", n);
    for (; out->n < n; out->n++) {
        const struct ap_pass_input *input = &inputs[out->n];
        struct ap_prompt *prompt = &out->items[out->n];
        ap_status status =
            ap_text_pass_prompt(pass, &pass->from->items[input->prompt], input->text, prompt, err);
        if (status != AP_OK)
            return status;
        prompt->sample = input->sample;
    }
    return AP_OK;
}
