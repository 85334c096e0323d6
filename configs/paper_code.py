"""The paper as its authors' code ran it: as `paper`, with Keras' default RMSprop rate of 1e-3.

python -m musicjax.main --config=paper_code --config.data.source=DIR
"""

from musicjax.config import Config, DataConfig, TrainConfig


def get_config() -> Config:
    return Config(name="paper_code", data=DataConfig(split="windows"), train=TrainConfig(learning_rate=1e-3))
