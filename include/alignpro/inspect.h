/* What a file or a folder holds, told without loading it whole. */
#ifndef ALIGNPRO_INSPECT_H
#define ALIGNPRO_INSPECT_H

#include "alignpro/api.h"
#include "alignpro/error.h"

#include <stdbool.h>

AP_API_BEGIN

struct ap_inspect_options {
    const char *model;  /* data: folder of a tokenizer whose tokens lengths are counted in; NULL:
                         * words between white space. Adapter: the base that it is compared with;
                         * NULL: the one that it names, where that is a folder */
    const char *format; /* data: as the recipe keys data.format and data.score; NULL: auto */
    const char *score;
    bool json; /* one JSON object for machines; else text of at most 100 columns */
};

/* A data set, a model, tokenizer or adapter folder, a safetensors or GGUF file, a run directory, a
 * stage or checkpoint of one: decided by what the path is, see src/pipeline/inspect.c. Weights are
 * never read, only the headers of their files; a run directory is read without its lock. *text is
 * allocated (ap_text_free) and ends in a newline. AP_FORMAT may come with a text: a report of what
 * is damaged, or does not fit together, in part. What is of no known kind is AP_UNSUPPORTED. */
ap_status ap_inspect(const char *path, const struct ap_inspect_options *options, char **text,
                     struct ap_error *err);

AP_API_END

#endif
