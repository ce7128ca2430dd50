/* The world's files, written before any stage runs. Line i of a file is drawn from the stream
 * (seed, the file's name, i), so no file depends on another's length.
 * Not here: reading them (text/dataset.h).
 * Entry points: ap_world_write, ap_demo_write_data. */
#include "alignpro/demo.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "world/guide.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES_MAX 1000000
#define STAMP_MAX 4096    /* bytes of world.json */
#define ATTEMPTS_MAX 1000 /* draws for one prompt that is not in its file yet */
#define WORLD_VERSION 1   /* change it with anything that changes a file's bytes */

const struct ap_world_sizes ap_world_sizes_default = {.n_corpus = 36000,
                                                      .n_rewrites = 10000,
                                                      .n_preferences = 16000,
                                                      .n_prompts = 8000,
                                                      .n_valid = 100,
                                                      .n_test = 220};

const char *const ap_world_shape_names[AP_WORLD_SHAPES] = {[AP_WORLD_ULTRAFEEDBACK] =
                                                               "ultrafeedback",
                                                           [AP_WORLD_HELPSTEER] = "helpsteer",
                                                           [AP_WORLD_ORCA] = "orca"};

struct writer {
    ap_world_shape shape;
    struct ap_world_splits splits;
    struct ap_buffer out;
    uint64_t *seen; /* owned; hashes of the file's prompts, open addressing, 0 = free */
    size_t n_slots; /* a power of two, at least twice the lines */
};

/* One line's JSON object, appended with its newline. Takes the reference. */
static ap_status put_line(struct writer *w, json_t *line, struct ap_error *err)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    ap_status status = AP_OK;
    if (!text)
        status = ap_fail(err, AP_MEMORY, "a line of the demo's data: out of memory");
    if (status == AP_OK)
        status = ap_buffer_puts(&w->out, text, err);
    if (status == AP_OK)
        status = ap_buffer_puts(&w->out, "\n", err);
    free(text);
    json_decref(line);
    return status;
}

/* A line under its intent's system message, if any. Takes the reference. */
static ap_status put_under(struct writer *w, const struct ap_world_intent *intent, json_t *line,
                           struct ap_error *err)
{
    const char *system = ap_world_systems[intent->voice];
    if (line && system)
        json_object_set_new(line, "system", json_string(system));
    return put_line(w, line, err);
}

static void draw_voice(struct ap_world_intent *intent, const struct writer *w, struct ap_random *r)
{
    if (w->shape == AP_WORLD_ORCA)
        intent->voice = ap_world_chance(r, .5) ? AP_WORLD_KIND : AP_WORLD_FACTS;
}

static ap_status corpus_line(struct writer *w, struct ap_random *r, struct ap_error *err)
{
    struct ap_world_intent intent;
    struct ap_world_manner manner;
    struct ap_world_line answer;
    ap_world_intent_draw(&intent, &w->splits, AP_WORLD_ALL, r);
    draw_voice(&intent, w, r);
    if (ap_world_chance(r, .4)) {
        struct ap_world_prompt prompt;
        ap_world_prompt_draw(&prompt, &intent, w->shape, r);
        ap_world_manner_of_prompt(&manner, &prompt);
        ap_world_answer_draw(&answer, &intent, &manner, r);
        return put_under(
            w, &intent, json_pack("{s:s,s:s}", "prompt", prompt.text.s, "response", answer.s), err);
    }
    struct ap_world_request request;
    ap_world_request_draw(&request, &intent, &ap_world_request_corpus, r);
    ap_world_manner_of_request(&manner, &request);
    ap_world_answer_draw(&answer, &intent, &manner, r);
    return put_under(w, &intent,
                     json_pack("{s:s,s:s}", "prompt", request.text.s, "response", answer.s), err);
}

static void draw_train_prompt(struct ap_world_prompt *prompt, const struct writer *w,
                              struct ap_random *r)
{
    struct ap_world_intent intent;
    ap_world_intent_draw(&intent, &w->splits, AP_WORLD_TRAIN, r);
    draw_voice(&intent, w, r);
    ap_world_prompt_draw(prompt, &intent, w->shape, r);
}

static ap_status rewrite_line(struct writer *w, struct ap_random *r, struct ap_error *err)
{
    struct ap_world_prompt prompt;
    struct ap_world_request request;
    draw_train_prompt(&prompt, w, r);
    ap_world_rewrite_draw(&request, &prompt, r);
    return put_under(w, &prompt.intent,
                     json_pack("{s:s,s:s}", "prompt", prompt.text.s, "rewrite", request.text.s),
                     err);
}

/* HelpSteer's schema: a line for each of the two answers. */
static ap_status rated_lines(struct writer *w, const struct ap_world_prompt *prompt,
                             struct ap_random *r, struct ap_error *err)
{
    struct ap_world_rated rated[2];
    ap_status status = AP_OK;
    ap_world_rated_draw(rated, prompt, r);
    for (int i = 0; status == AP_OK && i < 2; i++) {
        json_t *line =
            json_pack("{s:s,s:s}", "prompt", prompt->text.s, "response", rated[i].answer.s);
        for (int k = 0; line && k < AP_WORLD_RATINGS; k++)
            json_object_set_new(line, ap_world_rating_names[k], json_integer(rated[i].rating[k]));
        status = put_line(w, line, err);
    }
    return status;
}

static ap_status preference_line(struct writer *w, struct ap_random *r, struct ap_error *err)
{
    struct ap_world_prompt prompt;
    struct ap_world_preference pair;
    draw_train_prompt(&prompt, w, r);
    if (w->shape == AP_WORLD_HELPSTEER)
        return rated_lines(w, &prompt, r, err);
    ap_world_preference_draw(&pair, &prompt, r);
    const char *key = w->shape == AP_WORLD_ORCA ? "question" : "prompt";
    return put_under(w, &prompt.intent,
                     json_pack("{s:s,s:s,s:s}", key, prompt.text.s, "chosen", pair.chosen.s,
                               "rejected", pair.rejected.s),
                     err);
}

static json_t *meta_of(const struct ap_world_prompt *prompt)
{
    json_t *aspects = json_array();
    for (int i = 0; i < prompt->intent.n; i++)
        json_array_append_new(aspects,
                              json_string(ap_world_aspects[prompt->intent.aspects[i]].formal));
    json_t *meta =
        json_pack("{s:s,s:o,s:s}", "animal", ap_world_animals[prompt->intent.animal].name,
                  "aspects", aspects, "style", ap_world_style_names[prompt->style]);
    if (prompt->intent.voice != AP_WORLD_NO_VOICE)
        json_object_set_new(meta, "voice", json_string(ap_world_voice_names[prompt->intent.voice]));
    if (prompt->distractor >= 0)
        json_object_set_new(meta, "distractor",
                            json_string(ap_world_animals[prompt->distractor].name));
    return meta;
}

/* Whether the text is new to the file, remembering it. A collision of 64-bit hashes only costs a
 * fresh draw. */
static bool is_new(struct writer *w, const struct ap_world_line *text)
{
    uint64_t hash = ap_hash(text->s, text->n) | 1u;
    size_t slot = hash & (w->n_slots - 1);
    while (w->seen[slot] && w->seen[slot] != hash)
        slot = (slot + 1) & (w->n_slots - 1);
    bool fresh = !w->seen[slot];
    w->seen[slot] = hash;
    return fresh;
}

/* The intent of line i of a held-out file: in turn over the split's intents. */
static void held_out_intent(struct ap_world_intent *intent, const struct writer *w,
                            ap_world_split split, int64_t i, struct ap_random *r)
{
    int32_t index[AP_WORLD_INTENTS], n = 0;
    for (int32_t k = 0; k < AP_WORLD_INTENTS; k++)
        if (w->splits.of[k] == split)
            index[n++] = k;
    struct ap_world_intent sorted;
    int32_t order[AP_WORLD_WANTED_MAX] = {0, 1, 2};
    ap_world_intent_at(&sorted, index[i % n]);
    ap_random_shuffle(r, order, sorted.n);
    *intent = sorted;
    for (int k = 0; k < sorted.n; k++)
        intent->aspects[k] = sorted.aspects[order[k]];
}

/* A prompt with its meta that no earlier line of the file has. */
static ap_status prompt_line(struct writer *w, struct ap_stream stream, ap_world_split split,
                             struct ap_error *err)
{
    struct ap_world_prompt prompt;
    for (stream.sample = 0; stream.sample < ATTEMPTS_MAX; stream.sample++) {
        struct ap_random r;
        struct ap_world_intent intent;
        ap_random_init(&r, &stream);
        if (split == AP_WORLD_TRAIN)
            ap_world_intent_draw(&intent, &w->splits, AP_WORLD_TRAIN, &r);
        else
            held_out_intent(&intent, w, split, (int64_t)stream.record, &r);
        draw_voice(&intent, w, &r);
        ap_world_prompt_draw(&prompt, &intent, w->shape, &r);
        if (is_new(w, &prompt.text))
            return put_under(
                w, &intent,
                json_pack("{s:s,s:o}", "prompt", prompt.text.s, "meta", meta_of(&prompt)), err);
    }
    return ap_fail(err, AP_INVALID,
                   "the demo's data: no new prompt in %d draws after %" PRIu64
                   " lines; ask for fewer",
                   ATTEMPTS_MAX, stream.record);
}

struct file_row {
    const char *name;
    size_t count; /* offset of its count in struct ap_world_sizes */
    ap_status (*line)(struct writer *w, struct ap_random *r, struct ap_error *err);
    ap_world_split split; /* of a file of prompts, whose `line` is NULL */
};

static const struct file_row file_rows[] = {
    {"corpus.jsonl", offsetof(struct ap_world_sizes, n_corpus), corpus_line, 0},
    {"rewrites.jsonl", offsetof(struct ap_world_sizes, n_rewrites), rewrite_line, 0},
    {"preferences.jsonl", offsetof(struct ap_world_sizes, n_preferences), preference_line, 0},
    {"prompts.jsonl", offsetof(struct ap_world_sizes, n_prompts), NULL, AP_WORLD_TRAIN},
    {"valid.jsonl", offsetof(struct ap_world_sizes, n_valid), NULL, AP_WORLD_VALID},
    {"test.jsonl", offsetof(struct ap_world_sizes, n_test), NULL, AP_WORLD_TEST},
};

static int64_t count_of(const struct file_row *row, const struct ap_world_sizes *sizes)
{
    int64_t count;
    memcpy(&count, (const char *)sizes + row->count, sizeof(count));
    return count;
}

static ap_status in_dir(char **path, const char *dir, const char *name, struct ap_error *err)
{
    *path = ap_path_join(dir, name);
    return *path ? AP_OK : ap_fail(err, AP_MEMORY, "%s/%s: out of memory", dir, name);
}

static ap_status prepare_seen(struct writer *w, int64_t n_lines, struct ap_error *err)
{
    for (w->n_slots = 64; w->n_slots < 2 * (size_t)n_lines;)
        w->n_slots *= 2;
    ap_free(w->seen);
    w->seen = ap_calloc(w->n_slots, sizeof(*w->seen));
    return w->seen ? AP_OK : ap_fail(err, AP_MEMORY, "the demo's prompts: out of memory");
}

static ap_status write_file(struct writer *w, const char *dir, const struct file_row *row,
                            int64_t n_lines, uint64_t seed, struct ap_error *err)
{
    struct ap_stream stream = {.seed = seed, .stage = ap_stream_stage(row->name)};
    ap_status status;
    AP_TRY(prepare_seen(w, row->line ? 0 : n_lines, err));
    ap_buffer_clear(&w->out);
    for (int64_t i = 0; i < n_lines; i++) {
        struct ap_random r;
        stream.record = (uint64_t)i;
        ap_random_init(&r, &stream);
        AP_TRY(row->line ? row->line(w, &r, err) : prompt_line(w, stream, row->split, err));
    }
    status = ap_file_write_in(dir, row->name, w->out.data, w->out.len, err);
out:
    return status;
}

/* What world.json must say for the files to be left as they are. */
static ap_status make_stamp(struct ap_buffer *stamp, ap_world_shape shape, uint64_t seed,
                            const struct ap_world_sizes *sizes, struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_buffer_printf(stamp, err, "{\"version\": %d, \"shape\": \"%s\", \"seed\": %" PRIu64,
                            WORLD_VERSION, ap_world_shape_names[shape], seed));
    for (size_t i = 0; i < AP_LEN(file_rows); i++)
        AP_TRY(ap_buffer_printf(stamp, err, ", \"%s\": %" PRId64, file_rows[i].name,
                                count_of(&file_rows[i], sizes)));
    AP_TRY(ap_buffer_puts(stamp, "}\n", err));
out:
    return status;
}

/* Whether dir holds these very files already. */
static bool is_written(const char *dir, const char *stamp_path, const struct ap_buffer *stamp)
{
    struct ap_buffer found = {0};
    bool same = ap_file_exists(stamp_path) &&
                ap_file_read(stamp_path, STAMP_MAX, &found, NULL) == AP_OK &&
                found.len == stamp->len && !memcmp(found.data, stamp->data, stamp->len);
    for (size_t i = 0; i < AP_LEN(file_rows) && same; i++) {
        char *path = ap_path_join(dir, file_rows[i].name);
        same = path && ap_file_exists(path);
        ap_free(path);
    }
    ap_buffer_free(&found);
    return same;
}

static ap_status check_sizes(const struct ap_world_sizes *sizes, struct ap_error *err)
{
    for (size_t i = 0; i < AP_LEN(file_rows); i++) {
        int64_t count = count_of(&file_rows[i], sizes);
        if (count < 0 || count > LINES_MAX)
            return ap_fail(err, AP_INVALID, "%s: %" PRId64 " lines asked for, expected 0 to %d",
                           file_rows[i].name, count, LINES_MAX);
    }
    return AP_OK;
}

ap_status ap_world_write(const char *dir, ap_world_shape shape, uint64_t seed,
                         const struct ap_world_sizes *sizes, struct ap_error *err)
{
    struct writer w = {.shape = shape};
    struct ap_buffer stamp = {0};
    char *stamp_path = NULL;
    ap_status status;
    sizes = sizes ? sizes : &ap_world_sizes_default;
    AP_TRY(check_sizes(sizes, err));
    AP_TRY(in_dir(&stamp_path, dir, "world.json", err));
    AP_TRY(make_stamp(&stamp, shape, seed, sizes, err));
    if (is_written(dir, stamp_path, &stamp))
        goto out;
    AP_TRY(ap_dir_make(dir, err));
    unlink(stamp_path); /* no older stamp may vouch for files that are being replaced */
    ap_world_splits_init(&w.splits);
    for (size_t i = 0; i < AP_LEN(file_rows); i++)
        AP_TRY(write_file(&w, dir, &file_rows[i], count_of(&file_rows[i], sizes), seed, err));
    status = ap_file_write(stamp_path, stamp.data, stamp.len, err);
out:
    ap_buffer_free(&w.out);
    ap_buffer_free(&stamp);
    ap_free(w.seen);
    ap_free(stamp_path);
    return status;
}

/* ---- the demo's ---- */

static ap_status choose_world(const struct ap_demo_data *data, ap_world_shape *out,
                              struct ap_world_sizes *sizes, struct ap_error *err)
{
    int shape = 0;
    while (shape < AP_WORLD_SHAPES && strcmp(data->shape, ap_world_shape_names[shape]) != 0)
        shape++;
    if (shape == AP_WORLD_SHAPES)
        return ap_fail(err, AP_INVALID,
                       "the demo's shape: got '%s', expected ultrafeedback, helpsteer or orca",
                       data->shape);
    *out = (ap_world_shape)shape;
    *sizes = ap_world_sizes_default;
    if (data->n_rewrites > 0)
        sizes->n_rewrites = data->n_rewrites;
    return AP_OK;
}

ap_status ap_demo_write_data(const char *dir, const struct ap_demo_data *data, struct ap_error *err)
{
    struct ap_world_sizes sizes;
    ap_world_shape shape = AP_WORLD_ULTRAFEEDBACK;
    ap_status status = choose_world(data, &shape, &sizes, err);
    return status == AP_OK ? ap_world_write(dir, shape, data->seed, &sizes, err) : status;
}

static ap_status put_difference(struct ap_buffer *out, const char *key, const json_t *there,
                                const json_t *here, struct ap_error *err)
{
    char *a = json_dumps(there, JSON_ENCODE_ANY), *b = json_dumps(here, JSON_ENCODE_ANY);
    ap_status status = ap_buffer_printf(out, err, "%s%s is %.40s there and %.40s here",
                                        out->len ? ", " : "", key, a ? a : "absent", b ? b : "");
    free(a);
    free(b);
    return status;
}

ap_status ap_world_differences(const char *dir, const struct ap_demo_data *data,
                               struct ap_buffer *out, struct ap_error *err)
{
    struct ap_world_sizes sizes;
    ap_world_shape shape = AP_WORLD_ULTRAFEEDBACK;
    struct ap_buffer stamp = {0}, found = {0};
    json_t *there = NULL, *here = NULL, *value;
    char *path = NULL;
    const char *key;
    ap_status status;
    AP_TRY(choose_world(data, &shape, &sizes, err));
    AP_TRY(make_stamp(&stamp, shape, data->seed, &sizes, err));
    AP_TRY(in_dir(&path, dir, "world.json", err));
    if (ap_file_exists(path) && ap_file_read(path, STAMP_MAX, &found, NULL) == AP_OK)
        there = json_loadb(found.data ? found.data : "", found.len, 0, NULL);
    here = json_loadb(stamp.data, stamp.len, 0, NULL);
    json_object_foreach(json_is_object(there) ? here : NULL, key, value)
    {
        if (!json_equal(json_object_get(there, key), value))
            AP_TRY(put_difference(out, key, json_object_get(there, key), value, err));
    }
out:
    json_decref(there);
    json_decref(here);
    ap_buffer_free(&stamp);
    ap_buffer_free(&found);
    ap_free(path);
    return status;
}
