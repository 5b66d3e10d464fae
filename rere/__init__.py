"""ReRe pipelines' library: torch and transformers only; orchestration lives in `steps/` and `pipelines/`."""

__version__ = "0.1.0"
