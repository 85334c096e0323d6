"""Music as rows, and back. The only place that knows what an encoding is."""
