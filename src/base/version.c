/* The version, defined once by the build (CMakeLists.txt). */
#include "alignpro/version.h"

const char *ap_version(void)
{
    return AP_VERSION;
}
