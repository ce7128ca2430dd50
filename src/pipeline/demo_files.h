/* The files of examples/demo, so that the demo runs from anywhere (base/embedded.h). */
#ifndef AP_PIPELINE_DEMO_FILES_H
#define AP_PIPELINE_DEMO_FILES_H

#include "base/embedded.h"

extern const struct ap_embedded ap_demo_files[];
extern const int ap_n_demo_files;

#endif
