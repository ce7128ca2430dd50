/* Rotary embeddings' angles, in the steps and the precision of transformers (modeling_rope_utils:
 * _compute_default_rope_parameters, _compute_llama3_parameters). Entry point: ap_rope_fill. */
#include "model/weights_table.h"

#include <math.h>

/* transformers computes in float32 tensors; a Python number is rounded when it meets one. */
static float default_frequency(const struct ap_config *c, int i)
{
    float exponent = (float)(2 * i) / (float)c->head_dim;
    return 1.0f / (float)pow((double)(float)c->rope_theta, (double)exponent);
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

void ap_rope_fill(float *cos_table, float *sin_table, const struct ap_config *config, int context)
{
    int half = config->head_dim / 2;
    for (int i = 0; i < half; i++) {
        float frequency = default_frequency(config, i);
        if (config->rope == AP_ROPE_LLAMA3)
            frequency = llama3_frequency(config, frequency);
        for (int t = 0; t < context; t++) {
            float angle = (float)t * frequency;
            size_t at = (size_t)t * (size_t)half + (size_t)i;
            cos_table[at] = (float)cos((double)angle);
            sin_table[at] = (float)sin((double)angle);
        }
    }
}
