"""The paper as it is written: LSTM(512), dropout 0.75, RMSprop at 1e-4, 200 epochs, batch 200.

Reproduces: Mangal, Modak, Joshi, "LSTM Based Music Generation System" (arXiv 1908.01080), section IV.
The rate that the paper states is not the rate its authors' code ran with: `paper_code` has theirs, and with it
their learning curve; here the loss falls more slowly. RMSprop's epsilon stands where the Keras of 2018 had it. On the
paper's 126 files, 17,456 training windows, 200 epochs take as long as those of `paper_code`.

    python -m musicjax.main --config=paper [--config.data.source=DIR]
"""

from musicjax.config import Config, DataConfig, NotesData, TrainConfig


def get_config() -> Config:
    return Config(
        name="paper", data=DataConfig(own=NotesData(split="windows")), train=TrainConfig(epsilon_in_root=False)
    )
