"""The specification of a pipeline: models, validation, derived names. Pure; everything else builds on it."""
