"""The paper as written: LSTM(512), dropout 0.75, RMSprop at 1e-4, 200 epochs, batch 200.

    python -m musicjax.main --config=paper --data=pop_music_midi

Reproduces Mangal, Modak, Joshi, "LSTM Based Music Generation System" (arXiv 1908.01080), section IV. The authors' code
used a learning rate other than the paper's: `paper_code` has it and gives their learning curve. Here the loss falls
more slowly. RMSprop adds its epsilon where the Keras of 2018 did. An epoch takes as long as one of `paper_code`.
"""

from musicjax.config import Config, DataConfig, NotesData, TrainConfig


def get_config() -> Config:
    return Config(
        name="paper", data=DataConfig(own=NotesData(split="windows")), train=TrainConfig(epsilon_in_root=False)
    )
