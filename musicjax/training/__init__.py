"""How the network learns. JAX and optax; knows no files."""
