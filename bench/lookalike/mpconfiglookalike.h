// The unix port's configuration, but for what costs it stack that an ESP32 does not spend.
#include "mpconfigport.h"

// A path at each level of an import: 4,096 bytes on unix, 128 on an ESP32.
#undef MICROPY_ALLOC_PATH_MAX
#define MICROPY_ALLOC_PATH_MAX (256)

// Would take a path of any length into that.
#undef MICROPY_PY_SYS_EXECUTABLE
#define MICROPY_PY_SYS_EXECUTABLE (0)
