/* Rotary embeddings' angles, in the steps and the precision of transformers (modeling_rope_utils:
 * _compute_linear_scaling_rope_parameters, _compute_llama3_parameters,
 * _compute_longrope_parameters). Entry point: ap_rope_fill. */
#include "model/weights_table.h"

#include <math.h>

/* transformers computes in float32 tensors; a Python number is rounded when it meets one. */
static float power(const struct ap_config *c, int i)
{
    float exponent = (float)(2 * i) / (float)ap_config_rotating(c);
    return (float)pow((double)(float)c->rope_theta, (double)exponent);
}

/* Long waves are slowed by `factor`, short ones kept, those between mixed smoothly. */
static float llama3_frequency(const struct ap_config *c, float frequency)
{
    float low = (float)(c->rope_original / c->rope_low);
    float high = (float)(c->rope_original / c->rope_high);
    float wave = (float)(2 * M_PI) / frequency;
    float slowed = wave > low ? frequency / (float)c->rope_factor : frequency;
    if (wave < high || wave > low)
        return slowed;
    float smooth =
        ((float)c->rope_original / wave - (float)c->rope_low) / (float)(c->rope_high - c->rope_low);
    return (1.0f - smooth) * slowed / (float)c->rope_factor + smooth * slowed;
}

/* ext: the factors in use, short or long. */
static float frequency(const struct ap_config *c, const float *ext, int i)
{
    float plain = 1.0f / power(c, i);
    switch (c->rope) {
    case AP_ROPE_LINEAR:
        return plain / (float)c->rope_factor;
    case AP_ROPE_LLAMA3:
        return llama3_frequency(c, plain);
    case AP_ROPE_LONGROPE:
        return 1.0f / (ext[i] * power(c, i));
    case AP_ROPE_DEFAULT:
    case AP_ROPE_DYNAMIC:
        break;
    }
    return plain;
}

float ap_rope_slowing(const struct ap_config *c, int i)
{
    float plain = 1.0f / power(c, i);
    return plain / frequency(c, c->rope_short, i);
}

double ap_rope_attention(const struct ap_config *c)
{
    if (c->rope != AP_ROPE_LONGROPE)
        return 1;
    if (c->rope_attention > 0)
        return c->rope_attention;
    double factor =
        c->rope_factor > 0 ? c->rope_factor : (double)c->max_position / c->rope_original;
    return factor <= 1 ? 1 : sqrt(1 + log(factor) / log(c->rope_original));
}

void ap_rope_fill(float *cos_table, float *sin_table, const struct ap_config *config, int context)
{
    const float *ext = context > config->rope_original ? config->rope_long : config->rope_short;
    float scale = (float)ap_rope_attention(config);
    int n_freq = ap_config_n_freq(config);
    for (int i = 0; i < n_freq; i++) {
        float step = frequency(config, ext, i);
        for (int t = 0; t < context; t++) {
            float angle = (float)t * step;
            size_t at = (size_t)t * (size_t)n_freq + (size_t)i;
            cos_table[at] = (float)cos((double)angle) * scale;
            sin_table[at] = (float)sin((double)angle) * scale;
        }
    }
}
