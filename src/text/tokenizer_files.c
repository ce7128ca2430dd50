/* The files of a Hugging Face folder that make a tokenizer, copied as they are. Entry point:
 * ap_tokenizer_copy. */
#include "text/tokenizer.h"

#include "base/file.h"
#include "base/memory.h"

/* tokenizer.json is what alignpro reads, with the two below it; the others are for tools that go by
 * them. */
static const char *const files[] = {
    "tokenizer.json",          "tokenizer_config.json", "chat_template.jinja",
    "special_tokens_map.json", "added_tokens.json",     "tokenizer.model",
};

static ap_status copy_one(const char *from_dir, const char *to_dir, const char *name,
                          struct ap_error *err)
{
    char *from = ap_path_join(from_dir, name), *to = ap_path_join(to_dir, name);
    ap_status status = AP_OK;
    if (!from || !to)
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", name);
    else if (ap_file_exists(from))
        status = ap_file_copy(from, to, err);
    ap_free(from);
    ap_free(to);
    return status;
}

ap_status ap_tokenizer_copy(const char *from, const char *to, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (size_t i = 0; i < AP_LEN(files) && status == AP_OK; i++)
        status = copy_one(from, to, files[i], err);
    return status;
}
