"""Kubernetes objects of a MeterPipeline, one module a kind. Functions of their arguments only: no calls, no clock."""
