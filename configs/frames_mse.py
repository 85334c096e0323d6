"""The paper's loss on frames: LSTM(256), linear outputs, mean squared error; what it is worth as a likelihood.

    python -m musicjax.main --config=frames_mse --config.data.source=polyphonic:jsb:DIR

As frames_bernoulli in everything but the head. Scored with its outputs taken for probabilities.
"""

from musicjax.config import Config, DataConfig, FramesData, ModelConfig, TrainConfig


def get_config() -> Config:
    return Config(
        name="frames_mse",
        data=DataConfig(window=64, own=FramesData(per_beat=1, transpose=6)),
        model=ModelConfig(units=256, dropout=0.3),
        train=TrainConfig(
            optimizer="adam", learning_rate=4e-3, half_life=80.0, clip_norm=5.0, batch_size=8, epochs=300
        ),
    )
