"""A bench in nouns, so that one set of tests runs on a virtual board and on real ones.

Power, Load and Line are protocols with several drivers; a Meter is reached through its serial
console alone, whatever it is. bench.toml says which drivers a bench has (docs/bench.md); the
virtual bench needs no file.
"""
