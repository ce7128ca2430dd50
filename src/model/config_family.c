/* The families, and what follows from a configuration (config.h). */
#include "model/config_inner.h"

/* transformers' LlamaConfig, Qwen2Config, Phi3Config */
const struct ap_family_row ap_families[AP_FAMILY_N] = {
    [AP_LLAMA] = {"llama", "LlamaForCausalLM", "LlamaForSequenceClassification", 2048, 0, 1e-6, 1,
                  2, -1},
    [AP_QWEN2] = {"qwen2", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification", 32768, 32, 1e-6,
                  -1, -1, -1},
    [AP_PHI3] = {"phi3", "Phi3ForCausalLM", "Phi3ForSequenceClassification", 4096, 0, 1e-5, 1,
                 32000, 32000},
};

int ap_config_rotating(const struct ap_config *c)
{
    return c->rope_partial > 0 ? (int)(c->head_dim * c->rope_partial) : c->head_dim;
}

int ap_config_n_freq(const struct ap_config *c)
{
    return (ap_config_rotating(c) + 1) / 2;
}

int ap_config_window(const struct ap_config *c, int layer)
{
    return c->sliding[layer / 64] >> (layer % 64) & 1 ? c->window : 0;
}

int ap_config_context(const struct ap_config *c)
{
    return c->rope == AP_ROPE_LONGROPE ? c->rope_original : c->max_position;
}
