"""From a folder to pieces: find, read, keep, split. NumPy and the standard library; never JAX."""
