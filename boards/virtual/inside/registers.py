"""The register file that the board and the bench share: byte offsets, and the codes in them."""

SIZE = 8192
PINS = 40
FLOATING = 255  # nothing drives this line

OUT = 0  # PINS bytes: level that the board drives, or FLOATING
LINE = 40  # PINS bytes: level that the bench drives, or FLOATING
HELD = 80  # PINS bytes: 1 = the pad keeps its level through a reset
PULLED = 120  # PINS bytes: level of the board's own pull resistor, or FLOATING

NETWORK = 160  # 1 = the access point answers
RUNNING = 161  # 1 = Ctrl-C interrupts; 0 = the byte 0x03 is input
CAUSE = 162  # machine.reset_cause()
FED = 163  # counts feeds of the watchdog, modulo 256
FLASH_BUSY = 199  # 1 = an operation of the flash goes on
WORDS = {
    "watchdog_ms": ("u32", 164),  # 0 = not running
    "cut_at": ("u32", 168),  # flash operations until the power fails; 0 = never
    "flash_writes": ("u32", 172),  # since power on
    "rtc_real_ns": ("u64", 176),  # real time at which the RTC was last set
    "rtc_world_ns": ("u64", 184),  # Unix time it was set to
    "factor_milli": ("u32", 192),  # how much faster than real time the RTC runs, in 1/1000
    "ntp_port": ("u16", 208),
    "name_port": ("u16", 210),  # of the name server; 0 = the machine's own
    "erase_us": ("u32", 212),  # how long the flash takes to erase a block, beyond what it takes
    "write_us": ("u32", 216),  # ... and to write
    "read_us": ("u32", 220),  # ... and to read
    "flash_reads": ("u32", 224),  # since power on
    "flash_erases": ("u32", 228),
    "memory_size": ("u16", 2048),
}
UNIQUE_ID = 200  # 6 bytes
SSID = 256  # length ‖ at most 32 bytes
PASSWORD = 320  # length ‖ at most 63 bytes
NAME_SERVER = 400  # length ‖ dotted quad
RTC_MEMORY = 2050  # memory_size bytes of at most 2048

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5

# Exit codes of the board's process.
EXIT_SOFT = 10
EXIT_SOFT_RAW = 11
EXIT_RESET = 12
EXIT_CUT = 13

# A message is 2 bytes: a pin or one of these, then a level.
MESSAGE_NETWORK = 254
