"""The Kopf operator that reconciles MeterPipelines."""
