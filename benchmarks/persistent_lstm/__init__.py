"""A persistent LSTM kernel for GPUs of compute capability 9.0, kept as a prototype: see README.md in this folder."""
