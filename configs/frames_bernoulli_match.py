"""Frames of 88 keys, independent of each other given the past and the longest match: LSTM(256).

    python -m musicjax.main --config=frames_bernoulli_match --data=polyphonic:jsb:DIR

Like frames_bernoulli, with the longest match beside each frame. On the JSB chorales, 300 epochs take two minutes on two
cores and end at 7.70 nats a frame on the test split.
"""

from musicjax.config import Config, DataConfig, FramesData, FramesModel, ModelConfig, TrainConfig


def get_config() -> Config:
    return Config(
        name="frames_bernoulli_match",
        data=DataConfig(window=64, own=FramesData(per_beat=1, transpose=6, match_share=0.9)),
        model=ModelConfig(units=256, dropout=0.3, own=FramesModel(head="bernoulli")),
        train=TrainConfig(
            optimizer="adam", learning_rate=4e-3, half_life=80.0, clip_norm=5.0, batch_size=8, epochs=300
        ),
    )
