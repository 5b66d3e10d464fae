"""One step per file, each thin: load, call one library function, log metadata, return."""
