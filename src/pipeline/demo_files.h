/* The files of examples/demo, embedded at build time (cmake/embed.cmake), so that the demo runs
 * from anywhere. */
#ifndef AP_PIPELINE_DEMO_FILES_H
#define AP_PIPELINE_DEMO_FILES_H

#include <stddef.h>

struct ap_demo_file {
    const char *name;
    const unsigned char *data;
    size_t n;
};

extern const struct ap_demo_file ap_demo_files[];
extern const int ap_n_demo_files;

#endif
