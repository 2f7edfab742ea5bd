"""`flashbdev` as frozen into an ESP32's image: the block device that is mounted at /."""

bdev = None
