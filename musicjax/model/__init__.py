"""The network: arrays in, arrays out. It knows nothing of music, files or configs.

Shape legend: B sequences, T steps, I inputs, H units, C columns, K outputs of the sampler.
"""
