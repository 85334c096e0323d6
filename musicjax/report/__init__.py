"""What people look at: a run as curves and pictures. Imports music and config, never JAX."""
