MP_CONFIGFILE = <mpconfiglookalike.h>
QSTR_DEFS += $(BUILD)/shims.h
MICROPY_PY_SSL = 0
MICROPY_PY_BTREE = 0
LDFLAGS_MOD += -Wl,--wrap=mp_cstack_init_with_sp_here,--wrap=mp_cstack_check
LDFLAGS_MOD += -Wl,--wrap=gc_collect_start,--wrap=gc_collect_end
