"""What happens in a workdir: files, loops, signals."""
