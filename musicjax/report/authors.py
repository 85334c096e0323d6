"""What the paper's authors' notebook printed (2018): the curve that `paper_code` is held against."""

# Epoch: loss, accuracy, validation loss, validation accuracy.
AUTHORS = {
    1: (0.0286, 0.7156, 0.0145, 0.8922),
    2: (0.0206, 0.7474, 0.0131, 0.8914),
    8: (0.0135, 0.8686, 0.0106, 0.9388),
    10: (0.0126, 0.882, 0.0117, 0.932),
    50: (0.0072, 0.930, 0.0065, 0.9715),
    100: (0.0049, 0.948, 0.0066, 0.9685),
    200: (0.0021, 0.9723, 0.0070, 0.9690),
}
