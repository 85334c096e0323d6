"""What lies on disk of a run."""
