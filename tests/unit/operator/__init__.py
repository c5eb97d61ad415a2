"""What the operator decides: pure, so no cluster is needed."""
