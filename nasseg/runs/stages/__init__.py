"""The stages of a run, a module each: ``run(job, timer)``."""
