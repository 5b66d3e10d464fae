"""Where the workers of a stage run."""
