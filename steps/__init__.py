"""One step a file, each thin: load, call one library function, log metadata, return."""
