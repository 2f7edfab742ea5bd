// MicroPython's unix port with the word size, floats and stack of an ESP32's.
#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_FLOAT)
#include "ports/unix/variants/mpconfigvariant_common.h"
