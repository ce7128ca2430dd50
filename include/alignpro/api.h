/* What makes a header the library's own: its functions are exported, and C++ may call them. Nothing
 * outside these headers is. */
#ifndef ALIGNPRO_API_H
#define ALIGNPRO_API_H

#ifdef __cplusplus
#define AP_API_BEGIN                                                                               \
    _Pragma("GCC visibility push(default)") extern "C"                                             \
    {
#define AP_API_END                                                                                 \
    }                                                                                              \
    _Pragma("GCC visibility pop")
#else
#define AP_API_BEGIN _Pragma("GCC visibility push(default)")
#define AP_API_END _Pragma("GCC visibility pop")
#endif

#endif
