/* page.html, page.css and page.js of this folder (base/embedded.h). */
#ifndef AP_SERVE_PAGE_FILES_H
#define AP_SERVE_PAGE_FILES_H

#include "base/embedded.h"

extern const struct ap_embedded ap_page_files[];
extern const int ap_n_page_files;

#endif
