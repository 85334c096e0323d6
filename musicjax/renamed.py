"""What older versions called things, and what they are called now."""
