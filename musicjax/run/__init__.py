"""What happens in a workdir: the loop, its files, signals."""
