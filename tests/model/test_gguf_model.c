/* Models, adapters and tokenizers as GGUF: read back, they hold the keys, names, orders and bytes
 * that llama.cpp goes by. That it computes the same from them is for tools/check_gguf.py. */
#include "base/scratch.h"
#include "model/gguf_model.h"
#include "model/param.h"
#include "model/weights_table.h"
#include "text/tokenizer.h"
#include "tiny.h"

#define DEMO AP_SOURCE_DIR "/examples/demo"

static int n_warnings;

static void on_event(void *context, const struct ap_event *event)
{
    (void)context;
    n_warnings += event->kind == AP_EVENT_WARN;
}

static const struct ap_sink counting = {.fn = on_event};

/* A model and its adapter, or one of them, written and opened. */
struct sample {
    struct ap_weights *w;
    struct ap_adapter *a;
    struct ap_merged m;
    struct ap_gguf g;
    char *path;
};

static struct sample sample_of(void **state, const struct ap_config *c, bool head)
{
    struct ap_error err;
    struct sample s = {.w = tiny_weights(c), .path = scratch_path(state, "model.gguf")};
    s.a = tiny_adapter(s.w, head, true);
    check_ok(ap_merged_open(&s.m, s.w, s.a, NULL, &err), err);
    return s;
}

static void sample_free(struct sample *s)
{
    ap_gguf_close(&s->g);
    ap_merged_close(&s->m);
    ap_adapter_free(s->a);
    ap_weights_free(s->w);
    ap_free(s->path);
}

static struct ap_gguf_options options_of(const char *tokenizer, ap_dtype dtype)
{
    n_warnings = 0;
    return (struct ap_gguf_options){
        .name = "tiny", .tokenizer = tokenizer, .dtype = dtype, .sink = &counting};
}

static void write_model(struct sample *s, const struct ap_gguf_options *o)
{
    struct ap_error err;
    check_ok(ap_gguf_write_model(&s->m, s->path, o, &err), err);
    check_ok(ap_gguf_open(&s->g, s->path, &err), err);
}

static double number(const struct ap_gguf *g, const char *key)
{
    const struct ap_gguf_value *v = ap_gguf_find(g, key);
    double value = NAN;
    if (!v || !ap_gguf_real(v, 0, &value))
        fprintf(stderr, "no number %s\n", key);
    return value;
}

static void check_text(const struct ap_gguf *g, const char *key, const char *want)
{
    const struct ap_gguf_value *v = ap_gguf_find(g, key);
    struct ap_gguf_text text = {0};
    if (!v || !ap_gguf_text(v, &text) || text.n != strlen(want) ||
        memcmp(text.data, want, text.n) != 0) {
        fprintf(stderr, "%s is \"%.*s\", expected \"%s\"\n", key, (int)text.n,
                text.data ? text.data : "", want);
        fail();
    }
}

static const struct ap_gguf_tensor *tensor(const struct ap_gguf *g, const char *name)
{
    for (size_t i = 0; i < g->n_tensors; i++)
        if (g->tensors[i].name.n == strlen(name) &&
            !memcmp(g->tensors[i].name.data, name, strlen(name)))
            return &g->tensors[i];
    fprintf(stderr, "no tensor %s\n", name);
    fail();
    return NULL;
}

static const float *floats(const struct ap_gguf *g, const char *name, size_t n)
{
    const struct ap_gguf_tensor *t = tensor(g, name);
    assert_true(t->type->id == AP_GGML_F32 && t->n == n);
    return (const float *)(const void *)(g->map.data + t->offset);
}

/* The tensor is the merged row, its rows in this order of heads of `pair`. */
static void check_rows(const struct sample *s, const char *name, int row, int pair)
{
    struct ap_error err;
    const struct ap_param *p = &s->m.model->table.rows[row];
    size_t width = p->n_dim == 2 ? (size_t)p->shape[1] : 1;
    const float *got = floats(&s->g, name, p->n);
    float *want = ap_calloc(p->n, sizeof(*want));
    check_ok(ap_merged_read(&s->m, row, 0, p->shape[0], want, &err), err);
    for (int i = 0; i < p->shape[0]; i++) {
        int from = pair ? ap_unpaired_row(i, pair) : i;
        assert_memory_equal(got + (size_t)i * width, want + (size_t)from * width,
                            width * sizeof(*got));
    }
    ap_free(want);
}

static struct ap_config demo_config(void)
{
    struct ap_config c = tiny_config();
    c.n_vocab = 603;
    c.bos = 0;
    c.eos[0] = 1;
    return c;
}

static void test_llama(void **state)
{
    struct ap_config c = demo_config();
    c.rope = AP_ROPE_LLAMA3;
    c.rope_theta = 500;
    c.rope_factor = 8;
    c.rope_low = 1;
    c.rope_high = 4;
    c.rope_original = 32;
    struct sample s = sample_of(state, &c, false);
    struct ap_gguf_options o = options_of(DEMO, AP_F32);
    const struct ap_gguf_text_key keys[] = {{"alignpro.meta_prompt", "Say: {prompt}"}};
    o.keys = keys;
    o.n_keys = 1;
    write_model(&s, &o);
    check_text(&s.g, "general.architecture", "llama");
    check_text(&s.g, "general.name", "tiny");
    check_text(&s.g, "alignpro.meta_prompt", "Say: {prompt}");
    check_near(number(&s.g, "llama.attention.head_count_kv"), 2, 0, 0);
    check_near(number(&s.g, "llama.attention.key_length"), 6, 0, 0);
    check_near(number(&s.g, "llama.rope.dimension_count"), 6, 0, 0);
    check_near(number(&s.g, "llama.vocab_size"), 603, 0, 0);
    check_near(number(&s.g, "general.file_type"), 0, 0, 0);
    assert_int_equal(s.g.n_tensors, s.w->table.n + 1);
    const float *slowing = floats(&s.g, "rope_freqs.weight", 3);
    check_near(slowing[0], 1, 0, 1e-6); /* a wave of 6.3 positions, below 32 / 4 */
    check_near(slowing[2], 8, 0, 1e-6); /* one of 396, above 32 */
    assert_true(slowing[1] > 1 && slowing[1] < 8 + 1e-4f);
    check_rows(&s, "token_embd.weight", s.w->embed, 0);
    check_rows(&s, "output.weight", s.w->head, 0);
    check_rows(&s, "blk.1.attn_q.weight", s.w->layers[1].map[AP_MAP_Q].weight, 6);
    check_rows(&s, "blk.1.attn_q.bias", s.w->layers[1].map[AP_MAP_Q].bias, 6);
    check_rows(&s, "blk.0.attn_k.weight", s.w->layers[0].map[AP_MAP_K].weight, 6);
    check_rows(&s, "blk.0.attn_v.weight", s.w->layers[0].map[AP_MAP_V].weight, 0);
    check_rows(&s, "blk.1.ffn_down.weight", s.w->layers[1].map[AP_MAP_DOWN].weight, 0);
    check_rows(&s, "blk.1.ffn_norm.weight", s.w->layers[1].norm2, 0);
    assert_int_equal(n_warnings, 0);
    sample_free(&s);
}

static void test_qwen2(void **state)
{
    struct ap_config c = demo_config();
    c.family = AP_QWEN2;
    c.o_bias = c.mlp_bias = false;
    c.tied = true;
    c.window = 9;
    c.rope = AP_ROPE_LINEAR;
    c.rope_factor = 4;
    struct sample s = sample_of(state, &c, false);
    struct ap_gguf_options o = options_of(DEMO, AP_F16);
    write_model(&s, &o);
    check_text(&s.g, "general.architecture", "qwen2");
    check_text(&s.g, "qwen2.rope.scaling.type", "linear");
    check_near(number(&s.g, "qwen2.rope.scaling.factor"), 4, 0, 0);
    check_near(number(&s.g, "general.file_type"), 1, 0, 0);
    assert_int_equal(s.g.n_tensors, s.w->table.n);
    assert_int_equal(tensor(&s.g, "blk.0.attn_q.weight")->type->id, AP_GGML_F16);
    check_rows(&s, "blk.0.attn_q.bias", s.w->layers[0].map[AP_MAP_Q].bias, 0);
    assert_int_equal(n_warnings, 1); /* of the window */
    sample_free(&s);
}

static void test_phi3(void **state)
{
    struct ap_config c = tiny_phi3_config();
    c.n_vocab = 603;
    c.head_dim = c.width / c.n_head;
    c.rope_partial = 0.5;
    c.rope_long[0] = 1.75f;
    struct sample s = sample_of(state, &c, false);
    struct ap_gguf_options o = options_of(DEMO, AP_F32);
    write_model(&s, &o);
    check_near(number(&s.g, "phi3.rope.dimension_count"), 2, 0, 0);
    check_near(number(&s.g, "phi3.rope.scaling.original_context_length"), 32, 0, 0);
    check_near(number(&s.g, "phi3.rope.scaling.attn_factor"), ap_rope_attention(&c), 0, 1e-6);
    check_near(number(&s.g, "phi3.attention.sliding_window"), 5, 0, 0);
    check_near(floats(&s.g, "rope_factors_long.weight", 1)[0], 1.75, 0, 0);
    check_near(floats(&s.g, "rope_factors_short.weight", 1)[0], 1, 0, 0);
    check_rows(&s, "blk.1.attn_qkv.weight", s.w->layers[1].map[AP_MAP_Q].weight, 0);
    check_rows(&s, "blk.1.ffn_up.weight", s.w->layers[1].map[AP_MAP_GATE].weight, 0);
    sample_free(&s);
}

/* lora_b · lora_a, at llama.cpp's scale, is what merging adds. */
static void test_adapter(void **state)
{
    struct ap_error err;
    struct ap_config c = demo_config();
    struct sample s = sample_of(state, &c, false);
    struct ap_gguf_options o = options_of(DEMO, AP_F32);
    s.a->scales[AP_LORA_N + AP_LORA_K] *= 3; /* as alpha_pattern would */
    check_ok(ap_gguf_write_adapter(s.a, s.path, &o, &err), err);
    check_ok(ap_gguf_open(&s.g, s.path, &err), err);
    check_text(&s.g, "general.type", "adapter");
    check_text(&s.g, "adapter.type", "lora");
    assert_int_equal(s.g.n_tensors, s.a->table.n);
    double scale = number(&s.g, "adapter.lora.alpha") / 3;
    const float *a = floats(&s.g, "blk.1.attn_k.weight.lora_a", 3 * 16);
    const float *b = floats(&s.g, "blk.1.attn_k.weight.lora_b", 12 * 3);
    const struct ap_param *base = &s.w->table.rows[s.w->layers[1].map[AP_MAP_K].weight];
    float merged[12 * 16];
    check_ok(ap_merged_read(&s.m, (int)(base - s.w->table.rows), 0, 12, merged, &err), err);
    for (int i = 0; i < 12; i++)
        for (int j = 0; j < 16; j++) {
            size_t at = (size_t)ap_unpaired_row(i, 6) * 16 + (size_t)j;
            double sum = 0;
            for (int k = 0; k < 3; k++)
                sum += scale * b[i * 3 + k] * a[k * 16 + j];
            check_near(sum, (double)merged[at] - base->own[at], 1e-5, 1e-4);
        }
    sample_free(&s);
}

static void refuse(void **state, struct ap_config c, bool head, const char *tokenizer,
                   const char *part)
{
    struct ap_error err;
    struct sample s = sample_of(state, &c, head);
    struct ap_gguf_options o = options_of(tokenizer, AP_F32);
    ap_status status = ap_gguf_write_model(&s.m, s.path, &o, &err);
    assert_true(status == AP_UNSUPPORTED || status == AP_FORMAT);
    check_holds(err.text, part);
    assert_false(ap_file_exists(s.path));
    sample_free(&s);
}

static void test_refused(void **state)
{
    struct ap_config c = demo_config();
    refuse(state, c, true, DEMO, "sequence classifier");
    c.n_vocab = 599;
    refuse(state, c, false, DEMO, "600 tokens, expected at most 599");
    c = demo_config();
    c.family = AP_QWEN2;
    c.rope = AP_ROPE_LLAMA3;
    c.rope_factor = c.rope_low = 1;
    c.rope_high = 4;
    c.rope_original = 32;
    refuse(state, c, false, DEMO, "rope_type is llama3");
    c = tiny_phi3_config();
    c.n_vocab = 603;
    refuse(state, c, false, DEMO, "head_dim is 6");
}

/* ---- tokenizers ---- */

static void test_byte_level(void **state)
{
    struct ap_error err;
    struct ap_config c = demo_config();
    struct sample s = sample_of(state, &c, false);
    struct ap_gguf_options o = options_of(DEMO, AP_F16);
    struct ap_tokenizer *t;
    struct ap_gguf_text text;
    size_t at = 0;
    int64_t type;
    write_model(&s, &o);
    check_ok(ap_tokenizer_open(&t, DEMO, &err), err);
    check_text(&s.g, "tokenizer.ggml.model", "gpt2");
    check_text(&s.g, "tokenizer.ggml.pre", "gpt-2");
    check_near(number(&s.g, "tokenizer.ggml.bos_token_id"), 0, 0, 0);
    check_near(number(&s.g, "tokenizer.ggml.eos_token_id"), 1, 0, 0);
    check_near(number(&s.g, "tokenizer.ggml.add_bos_token"), 1, 0, 0);
    check_near(number(&s.g, "tokenizer.ggml.add_eos_token"), 0, 0, 0);
    const struct ap_gguf_value *tokens = ap_gguf_find(&s.g, "tokenizer.ggml.tokens");
    const struct ap_gguf_value *types = ap_gguf_find(&s.g, "tokenizer.ggml.token_type");
    assert_true(tokens && types && tokens->n == 603 && types->n == 603);
    for (int32_t id = 0; ap_gguf_next_text(tokens, &at, &text); id++) {
        const char *want = id < 600 ? ap_tokenizer_spelling(t, id) : "[PAD60";
        assert_memory_equal(text.data, want, id < 600 ? text.n : 6);
        assert_true(ap_gguf_integer(types, (uint64_t)id, &type));
        assert_int_equal(type, id < 2 ? 3 : id < 600 ? 1 : 5);
    }
    const struct ap_gguf_value *merges = ap_gguf_find(&s.g, "tokenizer.ggml.merges");
    assert_true(merges && merges->n == 342);
    at = 0;
    assert_true(ap_gguf_next_text(merges, &at, &text) && text.n == 3);
    assert_memory_equal(text.data, "h e", 3);
    assert_null(ap_gguf_find(&s.g, "tokenizer.chat_template"));
    ap_tokenizer_close(t);
    sample_free(&s);
}

/* Every key that a converter's own file of the same model has, with the same value. */
static void check_against(const struct ap_gguf *ours, const struct ap_gguf *theirs)
{
    static const char *const other[] = {"general.file_type"}; /* ours is of another type */
    for (size_t i = 0; i < theirs->n_values; i++) {
        const struct ap_gguf_value *v = &theirs->values[i];
        char key[128];
        snprintf(key, sizeof(key), "%.*s", (int)v->key.n, v->key.data);
        const struct ap_gguf_value *w = ap_gguf_find(ours, key);
        if (!strcmp(key, other[0]))
            continue;
        if (!w || w->type != v->type || w->element != v->element || w->n != v->n) {
            fprintf(stderr, "%s is missing or of another type\n", key);
            fail();
            return;
        }
        if (strcmp(key, "tokenizer.ggml.scores") != 0 &&
            (w->size != v->size || memcmp(w->data, v->data, v->size) != 0)) {
            fprintf(stderr, "%s has another value\n", key);
            fail();
        }
    }
    for (size_t i = 0; i < theirs->n_tensors; i++) {
        char name[128];
        snprintf(name, sizeof(name), "%.*s", (int)theirs->tensors[i].name.n,
                 theirs->tensors[i].name.data);
        const struct ap_gguf_tensor *t = tensor(ours, name);
        assert_memory_equal(t->shape, theirs->tensors[i].shape, sizeof(t->shape));
    }
    assert_int_equal(ours->n_tensors, theirs->n_tensors);
}

/* A folder with the golden file's tokenizer, and a model of its sizes. */
static void test_golden(void **state)
{
    static const char *const names[] = {"llama", "qwen2"};
    for (size_t i = 0; i < AP_LEN(names); i++) {
        struct ap_error err;
        struct ap_gguf theirs;
        char file[64];
        snprintf(file, sizeof(file), "gguf/%s-F16.gguf", names[i]);
        const char *path = check_golden(file);
        if (!path)
            return;
        check_ok(ap_gguf_open(&theirs, path, &err), err);
        snprintf(file, sizeof(file), "gguf/%s-tokenizer.json", names[i]);
        char *copy = scratch_path(state, "tokenizer.json");
        check_ok(ap_file_copy(check_golden(file), copy, &err), err);
        struct ap_config c = {.family = i ? AP_QWEN2 : AP_LLAMA,
                              .n_vocab = 512,
                              .width = 256,
                              .n_layer = 2,
                              .n_head = 8,
                              .n_kv_head = 2,
                              .head_dim = 32,
                              .n_ffn = 512,
                              .max_position = 256,
                              .rms_eps = 1e-5f,
                              .qkv_bias = i == 1,
                              .tied = i == 1,
                              .rope_theta = i ? 1e6 : 1e4,
                              .initializer_range = 0.1,
                              .bos = 1,
                              .pad = -1,
                              .eos = {2},
                              .n_eos = 1};
        struct sample s = sample_of(state, &c, false);
        struct ap_gguf_options o = options_of(*state, AP_F32);
        write_model(&s, &o);
        check_against(&s.g, &theirs);
        sample_free(&s);
        ap_gguf_close(&theirs);
        ap_free(copy);
    }
}

/* SentencePiece scores: each token has the rank of a merge that makes it, and none that comes after
 * any other of its merges. */
static void test_scores(void **state)
{
    struct ap_error err;
    struct ap_tokenizer *t;
    struct ap_gguf_values v = {0};
    struct ap_writer w = {0};
    struct ap_gguf g;
    struct ap_config c = tiny_config();
    const char *dir = check_data("tokenizers/phi-3-mini");
    double score, last = 1;
    if (!dir)
        return;
    struct ap_gguf_options o = options_of(dir, AP_F32);
    c.n_vocab = 32064;
    check_ok(ap_gguf_put_tokenizer(&v, &c, &o, &err), err);
    char *path = scratch_path(state, "tokenizer.gguf");
    check_ok(ap_gguf_begin(&w, path, &v, NULL, 0, &err), err);
    check_ok(ap_writer_commit(&w, &err), err);
    check_ok(ap_gguf_open(&g, path, &err), err);
    check_ok(ap_tokenizer_open(&t, dir, &err), err);
    assert_int_equal(n_warnings, 0);
    check_text(&g, "tokenizer.ggml.model", "llama");
    check_text(&g, "general.name", "Phi-3 tiny"); /* its tokens strip as llama.cpp's Phi-3 does */
    check_near(number(&g, "tokenizer.ggml.add_space_prefix"), 1, 0, 0);
    check_near(number(&g, "tokenizer.ggml.unknown_token_id"), 0, 0, 0);
    assert_true(ap_gguf_find(&g, "tokenizer.chat_template") != NULL);
    const struct ap_gguf_value *scores = ap_gguf_find(&g, "tokenizer.ggml.scores");
    const struct ap_gguf_value *types = ap_gguf_find(&g, "tokenizer.ggml.token_type");
    assert_true(scores && scores->n == 32064 && types && types->n == 32064);
    for (size_t i = 0; i <= t->bpe.mask; i++) {
        const struct ap_merge *m = &t->bpe.merge[i];
        if (m->left < 0)
            continue;
        assert_true(ap_gguf_real(scores, (uint64_t)m->id, &score));
        assert_true(-score <= m->rank);
        last = score < last ? score : last;
    }
    assert_true(last < -29612); /* as many tokens are made by merges */
    static const int64_t expected[][2] = {{0, 2},   {1, 3},   {2, 4},     {3, 6},
                                          {258, 6}, {259, 1}, {32007, 3}, {32011, 5}};
    for (size_t i = 0; i < AP_LEN(expected); i++) {
        int64_t type;
        assert_true(ap_gguf_integer(types, (uint64_t)expected[i][0], &type));
        assert_int_equal(type, expected[i][1]);
    }
    ap_tokenizer_close(t);
    ap_gguf_close(&g);
    ap_buffer_free(&v.bytes);
    ap_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_llama, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_qwen2, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_phi3, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_adapter, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_refused, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_byte_level, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_golden, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_scores, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
