"""The paper as it is written: LSTM(512), dropout 0.75, RMSprop at 1e-4, 200 epochs, batch 200.

Reproduces: Mangal, Modak, Joshi, "LSTM Based Music Generation System" (arXiv 1908.01080), section IV.
The rate that the paper states is not the rate its authors' code ran with: `paper_code` has theirs,
and with it their learning curve.

    python -m musicjax.main --config=paper --config.data.source=DIR
"""

from musicjax.config import Config, DataConfig


def get_config() -> Config:
    return Config(name="paper", data=DataConfig(split="windows"))
