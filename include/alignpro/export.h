/* What a run trained, or a model folder, in the formats that other tools read. */
#ifndef ALIGNPRO_EXPORT_H
#define ALIGNPRO_EXPORT_H

#include "alignpro/api.h"
#include "alignpro/error.h"
#include "alignpro/progress.h"

#include <stdbool.h>

AP_API_BEGIN

struct ap_export_options {
    /* "peft": the adapter's folder, with its base's absolute path in it and the tokenizer beside
     * it; "hf": a Hugging Face folder, the adapter folded into the weights; "gguf": one file for
     * llama.cpp, the adapter folded in. */
    const char *format;
    const char *run;     /* a run directory, or NULL: */
    const char *model;   /* a Hugging Face folder */
    const char *adapter; /* PEFT's folder on top of `model`, or NULL */
    const char *stage;   /* of the run: pretrain, sft, align, rlhf, reward, reward-NAME; NULL: the
                          * prompter, from the newest of align and sft that is finished */
    const char *out;     /* what is written, not there yet or empty */
    /* What matrices are stored in: "f32", "f16" or "bf16". NULL: hf as the base's files, gguf f16,
     * adapters f32. An adapter of "peft" is f32 always. */
    const char *dtype;
    bool adapter_only; /* gguf: the adapter alone, as llama.cpp's --lora takes it */
};

/* Memory: some rows of one tensor; weights stay in their files. The output is seen under its name
 * when it is whole, or not at all: AP_INTERRUPTED when the sink asks to stop. AP_INVALID for
 * settings that do not go together and an output that is there; AP_NOT_FOUND for a stage that is
 * not finished; AP_UNSUPPORTED for what the format, or llama.cpp, cannot hold, by name; AP_NUMERIC
 * for weights too large for f16. sink may be NULL. */
ap_status ap_export(const struct ap_export_options *options, const struct ap_sink *sink,
                    struct ap_error *err);

AP_API_END

#endif
