/* Weights in folders: saved, loaded, mapped, sharded, restored; what does not fit its configuration
 * is refused by file and tensor. */
#include "base/scratch.h"

#include "model/param.h"
#include "tiny.h"

static void check_equal(const struct ap_param_table *a, const struct ap_param_table *b)
{
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        assert_string_equal(a->rows[i].name, b->rows[i].name);
        assert_int_equal(a->rows[i].dtype, b->rows[i].dtype);
        assert_memory_equal(a->rows[i].stored, b->rows[i].stored, a->rows[i].n * sizeof(float));
    }
}

static void check_round_trip(void **state, struct ap_config c)
{
    struct ap_error err;
    struct ap_weights *w = tiny_weights(&c), *mapped, *copy;
    check_ok(ap_weights_save(w, *state, &err), err);
    check_ok(ap_weights_load(&mapped, *state, 0, AP_F32, &err), err);
    check_equal(&w->table, &mapped->table);
    assert_int_equal(mapped->context, c.max_position);
    for (int i = 0; i < mapped->table.n; i++)
        assert_true(!mapped->table.rows[i].own && !mapped->table.rows[i].grad);
    check_ok(ap_weights_copy(&copy, mapped, &err), err);
    check_ok(ap_weights_set_trainable(mapped, &err), err);
    assert_int_equal(mapped->n_files, 0);
    check_equal(&copy->table, &mapped->table);
    mapped->table.rows[3].own[0] += 1;
    assert_true(copy->table.rows[3].data[0] != mapped->table.rows[3].data[0]);
    check_ok(ap_weights_restore(mapped, *state, &err), err);
    check_equal(&copy->table, &mapped->table);
    ap_weights_free(copy);
    ap_weights_free(mapped);
    ap_weights_free(w);
}

static void test_round_trip(void **state)
{
    struct ap_config c = tiny_config();
    check_round_trip(state, c);
    c.tied = true;
    c.qkv_bias = c.o_bias = false;
    check_round_trip(state, c);
    c.n_label = 1;
    check_round_trip(state, c);
}

static void test_random(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *a, *b;
    double sum = 0, squares = 0;
    (void)state;
    c.n_vocab = 5000;
    c.initializer_range = 0.02;
    check_ok(ap_weights_random(&a, &c, 0, AP_F32, 1, &err), err);
    check_ok(ap_weights_random(&b, &c, 0, AP_F32, 1, &err), err);
    check_equal(&a->table, &b->table);
    ap_weights_free(b);
    check_ok(ap_weights_random(&b, &c, 0, AP_F32, 2, &err), err);
    assert_true(a->table.rows[0].data[0] != b->table.rows[0].data[0]);
    const struct ap_param *e = &a->table.rows[a->embed];
    for (size_t k = 0; k < e->n; k++) {
        sum += e->data[k];
        squares += (double)e->data[k] * e->data[k];
    }
    check_near(sum / (double)e->n, 0, 5 * 0.02 / sqrt((double)e->n), 0);
    check_near(sqrt(squares / (double)e->n), 0.02, 0, 0.02);
    assert_true(a->table.rows[a->norm].data[0] == 1);
    assert_true(a->table.rows[a->layers[1].norm2].data[15] == 1);
    assert_true(a->table.rows[a->layers[1].map[AP_MAP_Q].bias].data[3] == 0);
    assert_true(e->decay && !a->table.rows[a->norm].decay);
    ap_weights_free(a);
    ap_weights_free(b);
}

static void test_context(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c), *loaded;
    check_ok(ap_weights_save(w, *state, &err), err);
    check_ok(ap_weights_load(&loaded, *state, 10, AP_F32, &err), err);
    assert_int_equal(loaded->context, 10);
    ap_weights_free(loaded);
    assert_int_equal(ap_weights_load(&loaded, *state, 65, AP_F32, &err), AP_LIMIT);
    check_holds(err.text, "context 65, expected at most 64");
    assert_null(loaded);
    ap_weights_free(w);
}

/* -- folders that are wrong -- */

/* The tensors of a good model, to be written with a change. */
struct folder {
    struct ap_weights *w;
    struct ap_tensor_out out[64];
    int n;
};

static void folder_open(struct folder *f, void **state, struct ap_config c)
{
    struct ap_error err;
    *f = (struct folder){.w = tiny_weights(&c)};
    check_ok(ap_weights_save(f->w, *state, &err), err);
    for (int i = 0; i < f->w->table.n; i++) {
        const struct ap_param *p = &f->w->table.rows[i];
        f->out[f->n++] = (struct ap_tensor_out){.name = p->name,
                                                .dtype = AP_F32,
                                                .n_dim = p->n_dim,
                                                .shape = {p->shape[0], p->shape[1]},
                                                .data = p->data};
    }
}

static void folder_write(struct folder *f, void **state, const char *name, int from, int to)
{
    struct ap_error err;
    char *path = scratch_path(state, name);
    check_ok(ap_safetensors_write(path, f->out + from, to - from, &err), err);
    ap_free(path);
}

static int folder_find(const struct folder *f, const char *name)
{
    for (int i = 0; i < f->n; i++)
        if (!strcmp(f->out[i].name, name))
            return i;
    fail();
    return 0;
}

static void load_refused(void **state, ap_status status, const char *part, const char *more)
{
    struct ap_error err;
    struct ap_weights *w;
    ap_status got = ap_weights_load(&w, *state, 0, AP_F32, &err);
    assert_int_equal(got, status);
    assert_null(w);
    check_holds(err.text, part);
    check_holds(err.text, more);
}

static void test_disagreement(void **state)
{
    struct folder f;
    folder_open(&f, state, tiny_config());
    int up = folder_find(&f, "model.layers.1.mlp.up_proj.weight");
    f.out[up].shape[0] = 23;
    folder_write(&f, state, "model.safetensors", 0, f.n);
    load_refused(state, AP_FORMAT,
                 "model.safetensors: model.layers.1.mlp.up_proj.weight is F32 [23,16], expected "
                 "[24,16] (intermediate_size, hidden_size in config.json)",
                 "");
    f.out[up].shape[0] = 24;
    f.out[up].name = "model.layers.1.mlp.up.weight";
    folder_write(&f, state, "model.safetensors", 0, f.n);
    load_refused(state, AP_FORMAT, "model.layers.1.mlp.up_proj.weight is missing, expected [24,16]",
                 "");
    f.out[up].name = "model.layers.1.mlp.up_proj.weight";
    f.out[f.n] = f.out[folder_find(&f, "model.norm.weight")];
    f.out[f.n].name = "model.layers.2.input_layernorm.weight";
    folder_write(&f, state, "model.safetensors", 0, f.n + 1);
    load_refused(state, AP_FORMAT, "model.layers.2.input_layernorm.weight is a tensor too many",
                 "num_hidden_layers 2");
    f.out[up].dtype = AP_I32;
    folder_write(&f, state, "model.safetensors", 0, f.n);
    load_refused(state, AP_UNSUPPORTED,
                 "model.safetensors: model.layers.1.mlp.up_proj.weight is "
                 "I32",
                 "expected F32");
    f.out[up].dtype = AP_F32;
    int norm = folder_find(&f, "model.norm.weight");
    f.out[norm].n_dim = 2;
    f.out[norm].shape[1] = 1;
    folder_write(&f, state, "model.safetensors", 0, f.n);
    load_refused(state, AP_FORMAT, "model.norm.weight is F32 [16,1], expected [16]", "hidden_size");
    ap_weights_free(f.w);
}

static void test_fused_disagreement(void **state)
{
    struct folder f;
    folder_open(&f, state, tiny_phi3_config());
    int qkv = folder_find(&f, "model.layers.1.self_attn.qkv_proj.weight");
    assert_int_equal(f.out[qkv].shape[0], (4 + 2 * 2) * 6);
    f.out[qkv].shape[0] = 42;
    folder_write(&f, state, "model.safetensors", 0, f.n);
    load_refused(state, AP_FORMAT, "qkv_proj.weight is F32 [42,16], expected [48,16]",
                 "(num_attention_heads + 2·num_key_value_heads)·head_dim");
    f.out[qkv].shape[0] = 48;
    f.out[folder_find(&f, "model.layers.0.mlp.gate_up_proj.weight")].shape[0] = 24;
    folder_write(&f, state, "model.safetensors", 0, f.n);
    load_refused(state, AP_FORMAT, "gate_up_proj.weight is F32 [24,16], expected [48,16]",
                 "2·intermediate_size");
    f.out[qkv].name = "model.layers.1.self_attn.q_proj.weight";
    folder_write(&f, state, "model.safetensors", 0, f.n);
    load_refused(state, AP_FORMAT, "", "is F32 [24,16], expected [48,16]");
    ap_weights_free(f.w);
}

/* Which factors are used follows from the context, once; cosines carry the attention factor. */
static void test_longrope(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_phi3_config();
    double scale = sqrt(1 + log(2) / log(32));
    (void)state;
    for (int context = 0; context <= 64; context += context == 32 ? 1 : 16) {
        struct ap_weights *w;
        check_ok(ap_weights_random(&w, &c, context, AP_F32, 7, &err), err);
        double ext = context > 32 ? 3 : 1, angle = 5 / (ext * sqrt(10000));
        assert_int_equal(w->context, context ? context : 32);
        check_near(w->rope_cos[5 * 2 + 1], scale * cos(angle), 1e-6, 0);
        check_near(w->rope_sin[5 * 2 + 1], scale * sin(angle), 1e-6, 0);
        ap_weights_free(w);
    }
}

static void test_missing_files(void **state)
{
    struct ap_error err;
    struct folder f;
    struct ap_weights *w;
    assert_int_equal(ap_weights_load(&w, *state, 0, AP_F32, &err), AP_NOT_FOUND);
    check_holds(err.text, "config.json");
    folder_open(&f, state, tiny_config());
    char *path = scratch_path(state, "model.safetensors");
    assert_int_equal(unlink(path), 0);
    load_refused(state, AP_NOT_FOUND, "model.safetensors", "cannot open");
    scratch_put(path, "half a file", 11);
    load_refused(state, AP_FORMAT, "model.safetensors", "header length");
    ap_free(path);
    ap_weights_free(f.w);
}

/* A tied model's file may hold the head all the same, if it is the embedding. */
static void test_tied_copy(void **state)
{
    struct ap_config c = tiny_config();
    struct ap_error err;
    struct ap_weights *w;
    struct folder f;
    c.tied = true;
    folder_open(&f, state, c);
    int embed = folder_find(&f, "model.embed_tokens.weight");
    f.out[f.n] = f.out[embed];
    f.out[f.n].name = "lm_head.weight";
    f.out[f.n + 1] = f.out[folder_find(&f, "model.norm.weight")];
    f.out[f.n + 1].name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    folder_write(&f, state, "model.safetensors", 0, f.n + 2);
    check_ok(ap_weights_load(&w, *state, 0, AP_F32, &err), err);
    ap_weights_free(w);
    float *other = ap_calloc(f.w->table.rows[0].n, sizeof(float));
    f.out[f.n].data = other;
    folder_write(&f, state, "model.safetensors", 0, f.n + 1);
    load_refused(state, AP_FORMAT, "lm_head.weight is a tensor too many",
                 "tie_word_embeddings true");
    ap_free(other);
    ap_weights_free(f.w);
}

/* -- shards -- */

static void put_index(void **state, const struct folder *f, int half, const char *first,
                      const char *second)
{
    static char text[16384];
    int at = snprintf(text, sizeof(text), "{\"metadata\":{},\"weight_map\":{");
    for (int i = 0; i < f->n; i++)
        at += snprintf(text + at, sizeof(text) - (size_t)at, "%s\"%s\":\"%s\"", i ? "," : "",
                       f->out[i].name, i < half ? first : second);
    at += snprintf(text + at, sizeof(text) - (size_t)at, "}}");
    char *path = scratch_path(state, "model.safetensors.index.json");
    scratch_put(path, text, (size_t)at);
    ap_free(path);
}

static void test_shards(void **state)
{
    struct ap_error err;
    struct ap_weights *w;
    struct folder f;
    folder_open(&f, state, tiny_config());
    char *single = scratch_path(state, "model.safetensors");
    char *index = scratch_path(state, "model.safetensors.index.json");
    assert_int_equal(unlink(single), 0);
    folder_write(&f, state, "a.safetensors", 0, 10);
    folder_write(&f, state, "b.safetensors", 10, f.n);
    put_index(state, &f, 10, "a.safetensors", "b.safetensors");
    check_ok(ap_weights_load(&w, *state, 0, AP_F32, &err), err);
    check_equal(&w->table, &f.w->table);
    assert_int_equal(w->n_files, 2);
    ap_weights_free(w);
    put_index(state, &f, 9, "a.safetensors", "b.safetensors");
    load_refused(state, AP_FORMAT, "b.safetensors", "is missing");
    put_index(state, &f, 10, "a.safetensors", "../b.safetensors");
    load_refused(state, AP_FORMAT, "model.safetensors.index.json", "no plain file name");
    put_index(state, &f, 10, "a.safetensors", "c.safetensors");
    load_refused(state, AP_NOT_FOUND, "c.safetensors", "open");
    folder_write(&f, state, "b.safetensors", 9, f.n);
    put_index(state, &f, 10, "a.safetensors", "b.safetensors");
    load_refused(state, AP_FORMAT, "b.safetensors", "does not place it there");
    folder_write(&f, state, "b.safetensors", 10, f.n);
    f.n--;
    put_index(state, &f, 10, "a.safetensors", "b.safetensors");
    load_refused(state, AP_FORMAT, "model.safetensors.index.json", "is missing");
    scratch_put(index, "{}", 2);
    load_refused(state, AP_FORMAT, "weight_map", "model.safetensors.index.json");
    ap_free(index);
    ap_free(single);
    ap_weights_free(f.w);
}

/* A file whose data is not aligned gives the same values: matrices where they are, norms copied. */
static void test_unaligned(void **state)
{
    struct ap_error err;
    struct ap_weights *w;
    struct folder f;
    folder_open(&f, state, tiny_config());
    char *path = scratch_path(state, "model.safetensors");
    struct ap_buffer file = {0}, moved = {0};
    check_ok(ap_file_read(path, 1 << 20, &file, &err), err);
    uint64_t length;
    memcpy(&length, file.data, 8);
    length += 3; /* three spaces more in the header */
    check_ok(ap_buffer_append(&moved, &length, 8, &err), err);
    check_ok(ap_buffer_append(&moved, file.data + 8, length - 3, &err), err);
    check_ok(ap_buffer_append(&moved, "   ", 3, &err), err);
    check_ok(ap_buffer_append(&moved, file.data + 8 + length - 3, file.len - 8 - length + 3, &err),
             err);
    scratch_put(path, moved.data, moved.len);
    check_ok(ap_weights_load(&w, *state, 0, AP_F32, &err), err);
    check_equal(&w->table, &f.w->table);
    assert_null(w->table.rows[w->embed].data);
    assert_null(w->table.rows[w->embed].own);
    assert_non_null(w->table.rows[w->norm].own);
    ap_weights_free(w);
    ap_buffer_free(&file);
    ap_buffer_free(&moved);
    ap_free(path);
    ap_weights_free(f.w);
}

static void test_restore_refuses(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c), *other;
    check_ok(ap_weights_save(w, *state, &err), err);
    c.n_ffn = 20;
    other = tiny_weights(&c);
    assert_int_equal(ap_weights_restore(other, *state, &err), AP_FORMAT);
    check_holds(err.text, "gate_proj.weight is F32 [24,16], expected [20,16]");
    ap_weights_free(other);
    c.n_ffn = 24;
    c.mlp_bias = false;
    other = tiny_weights(&c);
    assert_int_equal(ap_weights_restore(other, *state, &err), AP_FORMAT);
    check_holds(err.text, "proj.bias is a tensor too many");
    ap_weights_free(other);
    ap_weights_free(w);
}

/* -- what a forward refuses -- */

static void forward_refused(struct ap_tape *t, struct ap_role role, struct ap_rows rows,
                            ap_status status, const char *part)
{
    struct ap_error err;
    assert_int_equal(ap_forward(t, &role, &rows, &err), status);
    check_holds(err.text, part);
}

static void test_bad_rows(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = tiny_adapter(w, false, false);
    struct ap_tape *t;
    struct ap_kv *kv;
    int32_t ids[80] = {0};
    (void)state;
    check_ok(ap_tape_open(&t, &c, 70, 2, AP_TAPE_FORWARD, &err), err);
    struct ap_role role = {w, NULL};
    forward_refused(t, role, (struct ap_rows){ids, (int32_t[]){0, 71}, 71, 1, NULL, NULL}, AP_LIMIT,
                    "71 rows");
    forward_refused(t, role, (struct ap_rows){ids, (int32_t[]){0}, 0, 0, NULL, NULL}, AP_LIMIT,
                    "0 rows");
    forward_refused(t, role, (struct ap_rows){ids, (int32_t[]){0, 65}, 65, 1, NULL, NULL}, AP_LIMIT,
                    "65 tokens");
    forward_refused(t, role, (struct ap_rows){ids, (int32_t[]){0, 3, 3}, 3, 2, NULL, NULL},
                    AP_INVALID, "sequence 1");
    forward_refused(t, role, (struct ap_rows){ids, (int32_t[]){0, 2}, 3, 1, NULL, NULL}, AP_INVALID,
                    "row 2");
    ids[1] = 41;
    forward_refused(t, role, (struct ap_rows){ids, (int32_t[]){0, 3}, 3, 1, NULL, NULL}, AP_INVALID,
                    "token id 41");
    ids[1] = 0;
    role.adapter = a;
    forward_refused(t, role, (struct ap_rows){ids, (int32_t[]){0, 3}, 3, 1, NULL, NULL}, AP_INVALID,
                    "rank 3");
    c.n_ffn = 20;
    struct ap_weights *other = tiny_weights(&c);
    role = (struct ap_role){other, NULL};
    forward_refused(t, role, (struct ap_rows){ids, (int32_t[]){0, 3}, 3, 1, NULL, NULL}, AP_INVALID,
                    "sizes");
    check_ok(ap_kv_open(&kv, &c, 2, 8, 4, 0, &err), err);
    assert_int_equal(ap_decode(kv, &role, ids, (int32_t[]){2}, (int32_t[]){0}, 1, &err),
                     AP_INVALID);
    check_holds(err.text, "slot 2");
    assert_int_equal(ap_decode(kv, &role, ids, (int32_t[]){1}, (int32_t[]){16}, 1, &err), AP_LIMIT);
    check_holds(err.text, "position 16");
    assert_int_equal(ap_decode(kv, &role, ids, (int32_t[]){1}, (int32_t[]){0}, 5, &err), AP_LIMIT);
    ap_kv_close(kv);
    assert_int_equal(ap_kv_open(&kv, &c, 2, 65, 4, 0, &err), AP_LIMIT);
    ap_weights_free(other);
    ap_tape_close(t);
    ap_adapter_free(a);
    ap_weights_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_random),
        cmocka_unit_test_setup_teardown(test_context, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_disagreement, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_fused_disagreement, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_longrope),
        cmocka_unit_test_setup_teardown(test_missing_files, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_tied_copy, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_shards, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_unaligned, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_restore_refuses, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_bad_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
