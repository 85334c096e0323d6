"""Published figures for the four frame data sets, nats per frame, and what is known of their protocols."""

from __future__ import annotations

from musicjax.corpus import frame_sets

SETS = tuple(frame_sets.NAMES)
# {model: ({data set: nats}, protocol)}, on the test splits and grids of the same four files unless stated otherwise.
PUBLISHED: dict[str, tuple[dict[str, float | None], str]] = {
    "LSTM, independent keys (Chung et al. 2014)": (
        dict(zip(SETS, (8.67, 3.20, 6.23, 9.03), strict=True)),
        "transposition and first frame: not known here",
    ),
    "LSTM, independent keys (Bai et al. 2018)": (
        dict(zip(SETS, (8.45, 3.29, None, None), strict=True)),
        "not transposed; first frame not predicted",
    ),
    "TCN, independent keys (Bai et al. 2018)": (
        dict(zip(SETS, (8.10, 3.07, None, None), strict=True)),
        "not transposed; first frame not predicted",
    ),
    "GRU, independent keys (Chung et al. 2014)": (
        dict(zip(SETS, (8.54, 3.23, 5.99, 8.82), strict=True)),
        "transposition and first frame: not known here",
    ),
    **{
        f"{model} (quoted by Johnson 2017)": (dict(zip(SETS, nats, strict=True)), "protocol not known here")
        for model, nats in {
            "RNN-RBM": (6.27, 2.39, 6.01, 7.09),
            "RNN-DBN": (5.68, 2.54, 6.28, 7.15),
            "RNN-NADE": (5.56, 2.31, 5.60, 7.05),
            "DBN-LSTM": (3.47, 1.32, 3.91, 4.63),
        }.items()
    },
    **{
        f"{model} (Johnson 2017)": (dict(zip(SETS, nats, strict=True)), "pieces moved to a common tonic")
        for model, nats in {
            "LSTM-NADE": (6.00, 2.02, 5.02, 7.36),
            "TP-LSTM-NADE": (5.88, 1.61, 4.32, 5.44),
            "BALSTM, best of several": (5.05, 1.55, 3.90, 4.90),
            "BALSTM, median": (5.86, 1.62, 4.41, 5.00),
        }.items()
    },
    "biaxial LSTM, on training data (Kotecha and Young 2018)": (
        dict(zip(SETS, (None, None, None, 5.16), strict=True)),
        "The paper's Table I quotes this and a second result, 6.59. They are of 78 keys, scaled by keys.",
    ),
    "biaxial LSTM, on test data (Kotecha and Young 2018)": (
        dict(zip(SETS, (None, None, None, 6.27), strict=True)),
        "The second result is 7.93. Both are of 78 keys, scaled by keys.",
    ),
}
