"""Tell what a short name in a traceback stands for: python -m parwana.image MODULE NAME."""

import sys

from parwana.image import firmware, names

if len(sys.argv) != 3:
    sys.exit("write: python -m parwana.image MODULE NAME, as in: control _c")
print(names.meaning(firmware.trimmed(), *sys.argv[1:]) or "nothing")
