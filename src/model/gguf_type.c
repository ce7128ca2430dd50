/* The types that a GGUF file may name, and the values of its metadata (gguf.h). */
#include "model/gguf.h"

#include <string.h>

static const char *const type_names[AP_GGUF_TYPE_N] = {
    [AP_GGUF_U8] = "u8",       [AP_GGUF_I8] = "i8",     [AP_GGUF_U16] = "u16",
    [AP_GGUF_I16] = "i16",     [AP_GGUF_U32] = "u32",   [AP_GGUF_I32] = "i32",
    [AP_GGUF_F32] = "f32",     [AP_GGUF_BOOL] = "bool", [AP_GGUF_STRING] = "string",
    [AP_GGUF_ARRAY] = "array", [AP_GGUF_U64] = "u64",   [AP_GGUF_I64] = "i64",
    [AP_GGUF_F64] = "f64",
};

const char *ap_gguf_type_name(uint32_t type)
{
    return type < AP_GGUF_TYPE_N ? type_names[type] : NULL;
}

static const struct ap_ggml_type ggml_types[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 40},      {10, "Q2_K", 256, 84},
    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},  {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
};

const struct ap_ggml_type *ap_ggml_type_find(uint32_t id)
{
    for (size_t i = 0; i < AP_LEN(ggml_types); i++)
        if (ggml_types[i].id == id)
            return &ggml_types[i];
    return NULL;
}

static size_t element_bytes(ap_gguf_type type)
{
    switch (type) {
    case AP_GGUF_U16:
    case AP_GGUF_I16:
        return 2;
    case AP_GGUF_U32:
    case AP_GGUF_I32:
    case AP_GGUF_F32:
        return 4;
    case AP_GGUF_U64:
    case AP_GGUF_I64:
    case AP_GGUF_F64:
        return 8;
    default:
        return 1;
    }
}

/* The element's bits, little endian, zero-extended. */
static bool bits_of(const struct ap_gguf_value *v, uint64_t i, uint64_t *bits)
{
    size_t n = element_bytes(v->element);
    if (v->element == AP_GGUF_STRING || v->element == AP_GGUF_ARRAY || i >= v->n)
        return false;
    *bits = 0;
    for (size_t k = n; k-- > 0;)
        *bits = *bits << 8 | v->data[i * n + k];
    return true;
}

bool ap_gguf_integer(const struct ap_gguf_value *v, uint64_t i, int64_t *out)
{
    uint64_t bits;
    if (v->element == AP_GGUF_F32 || v->element == AP_GGUF_F64 || !bits_of(v, i, &bits))
        return false;
    switch (v->element) {
    case AP_GGUF_I8:
        *out = (int8_t)bits;
        break;
    case AP_GGUF_I16:
        *out = (int16_t)bits;
        break;
    case AP_GGUF_I32:
        *out = (int32_t)bits;
        break;
    case AP_GGUF_U64:
        *out = bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
        break;
    default:
        *out = (int64_t)bits;
    }
    return true;
}

bool ap_gguf_real(const struct ap_gguf_value *v, uint64_t i, double *out)
{
    uint64_t bits;
    int64_t whole;
    if (ap_gguf_integer(v, i, &whole)) {
        *out = (double)whole;
        return true;
    }
    if (!bits_of(v, i, &bits))
        return false;
    if (v->element == AP_GGUF_F64) {
        memcpy(out, &bits, sizeof(*out));
    } else {
        uint32_t half = (uint32_t)bits;
        float value;
        memcpy(&value, &half, sizeof(value));
        *out = (double)value;
    }
    return true;
}

bool ap_gguf_next_text(const struct ap_gguf_value *v, size_t *at, struct ap_gguf_text *out)
{
    uint64_t n = 0;
    if (v->element != AP_GGUF_STRING || *at >= v->size)
        return false;
    for (int k = 7; k >= 0; k--)
        n = n << 8 | v->data[*at + (size_t)k];
    *out = (struct ap_gguf_text){(const char *)v->data + *at + 8, (size_t)n};
    *at += 8 + (size_t)n;
    return true;
}

bool ap_gguf_text(const struct ap_gguf_value *v, struct ap_gguf_text *out)
{
    size_t at = 0;
    return v->type == AP_GGUF_STRING && ap_gguf_next_text(v, &at, out);
}
