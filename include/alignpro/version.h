/* Which alignpro this is. */
#ifndef ALIGNPRO_VERSION_H
#define ALIGNPRO_VERSION_H

#include "alignpro/api.h"

AP_API_BEGIN

/* "0.1.0": of the library that runs, not of the headers. Static. */
const char *ap_version(void);

AP_API_END

#endif
