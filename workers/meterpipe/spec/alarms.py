"""What a pipeline says about alarms: the rules that raise and clear them, and who is told."""

from pydantic import Field

from meterpipe.spec.base import Model
from meterpipe.spec.kubernetes import Resources


class Notifier(Model):
    """Who is told of alarms: the table of open alarms in Cassandra, and a webhook."""

    replicas: int = Field(1, ge=0, le=1000, description="Number of worker processes; 0 stops the worker.")
    resources: Resources = Field(Resources(), description="CPU and memory of each pod.")


class Alarms(Model):
    """Alarms raised and cleared by readings, by rules and by a live table of thresholds."""

    enabled: bool = Field(False, description="Whether readings are watched for alarms.")
    replicas: int = Field(1, ge=0, le=1000, description="Number of worker processes; 0 stops the worker.")
    resources: Resources = Field(Resources(), description="CPU and memory of each pod.")
    notifier: Notifier = Field(Notifier(), description="Who is told of alarms.")
