/* Names and prompts of arms on noisy prompts (noisy.h). */
#include "eval/noisy.h"

#include "base/memory.h"
#include "text/noise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ap_noisy_name ap_noisy_name(const char *arm, double noise)
{
    struct ap_noisy_name out;
    char strength[32];
    snprintf(out.text, sizeof(out.text), "%.31s", arm);
    if (noise <= 0)
        return out;
    for (int digits = 1; digits <= 17; digits++) { /* the shortest that reads back */
        snprintf(strength, sizeof(strength), "%.*g", digits, noise);
        if (strtod(strength, NULL) == noise)
            break;
    }
    snprintf(out.text, sizeof(out.text), "%.31s@%s", arm, strength);
    return out;
}

void ap_noisy_texts_free(char **texts, int n)
{
    for (int i = 0; texts && i < n; i++)
        ap_free(texts[i]);
    ap_free(texts);
}

ap_status ap_noisy_texts(char ***out, const struct ap_prompts *prompts, double noise, int64_t seed,
                         struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_buffer text = {0};
    char **texts = ap_calloc((size_t)prompts->n, sizeof(*texts));
    *out = NULL;
    if (!texts)
        return ap_fail(err, AP_MEMORY, "%d noisy prompts: out of memory", prompts->n);
    for (int i = 0; i < prompts->n; i++) {
        const struct ap_prompt *x = &prompts->items[i];
        struct ap_stream stream = {
            .seed = (uint64_t)seed, .stage = ap_stream_stage("eval.noise"), .record = x->record};
        AP_TRY(ap_buffer_puts(&text, "", err));
        AP_TRY(ap_noise(x->x, strlen(x->x), noise, &stream, &text, NULL, err));
        texts[i] = text.data; /* taken over */
        text = (struct ap_buffer){0};
    }
    *out = texts;
    texts = NULL;
out:
    ap_buffer_free(&text);
    ap_noisy_texts_free(texts, prompts->n);
    return status;
}
