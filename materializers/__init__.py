"""How artifacts are kept: sealed directories, Parquet, JSON; never a pickle. One file per kind; nothing is imported
here, for a step is cached by the files that it reaches.
"""
