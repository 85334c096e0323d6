"""What people look at: a run as curves and pictures. Imports music, never JAX."""
