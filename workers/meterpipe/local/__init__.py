"""The pipeline on one machine: embedded services, worker processes, the demo."""
