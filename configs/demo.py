"""The same system sized to finish within three minutes on two CPU cores."""

from musicjax.config import Config, DataConfig, ModelConfig, TrainConfig


def get_config() -> Config:
    return Config(
        name="demo",
        data=DataConfig(duration=True, validation_fraction=0.1),
        model=ModelConfig(units=128, dropout=0.2),
        train=TrainConfig(epochs=20, learning_rate=1e-3),
    )
