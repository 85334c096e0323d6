"""What people look at and listen to: a run as curves, pictures, sound and a page. Imports music, never JAX."""
