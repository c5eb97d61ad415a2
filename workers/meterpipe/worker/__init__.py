"""The worker loop, the steps of each worker, and the ports they need."""
