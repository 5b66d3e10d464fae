"""ReRe pipelines' library: torch and transformers only; orchestration lives in `steps/` and `pipelines/`."""
