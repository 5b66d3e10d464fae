"""Settings: one frozen model per stage, in one file per stage. Import from the file itself.

This file stays empty: a step is cached by the files that it reaches, and a list of all settings here would make
every step depend on every stage. Variants are values of a `type` field, never booleans, and an unknown key is an
error. Defaults are the vetted settings. Lengths are in items or tokens, times in seconds; each field says which.
"""
