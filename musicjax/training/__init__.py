"""How the network learns, with JAX and optax. It knows nothing of files."""
