"""Meterpipe: a Lambda architecture for smart metering, declared in one MeterPipeline."""

__version__ = "0.1.0"
