"""Frames of 88 keys, independent of each other given the past: LSTM(256), one logit a key.

    python -m musicjax.main --config=frames_bernoulli --data=polyphonic:jsb:DIR

On the JSB chorales, 300 epochs take two minutes on two cores and end at 8.35 nats a frame on the test split. The values
suit that data set; benchmarks/likelihood_networks.py has those for the other three.
"""

from musicjax.config import Config, DataConfig, FramesData, FramesModel, ModelConfig, TrainConfig


def get_config() -> Config:
    return Config(
        name="frames_bernoulli",
        data=DataConfig(window=64, own=FramesData(per_beat=1, transpose=6)),
        model=ModelConfig(units=256, dropout=0.3, own=FramesModel(head="bernoulli")),
        train=TrainConfig(
            optimizer="adam", learning_rate=4e-3, half_life=80.0, clip_norm=5.0, batch_size=8, epochs=300
        ),
    )
