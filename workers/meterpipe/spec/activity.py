"""What a pipeline says about the activity of meters: when each was heard last, and how often."""

from pydantic import Field

from meterpipe.spec.base import Model
from meterpipe.spec.kubernetes import Resources


class Activity(Model):
    """When each meter was heard last, and how many readings it sent: kept in Redis or Valkey."""

    enabled: bool = Field(False, description="Whether the activity of meters is tracked.")
    replicas: int = Field(1, ge=0, le=1000, description="Number of worker processes; 0 stops the worker.")
    resources: Resources = Field(Resources(), description="CPU and memory of each pod.")
