"""The paper's loss on frames: LSTM(256), linear outputs, mean squared error.

    python -m musicjax.main --config=frames_mse --data=polyphonic:jsb:DIR

Like frames_bernoulli, except for the head. To compute a likelihood, its outputs are taken as probabilities.
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
