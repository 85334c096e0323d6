"""Frames of 88 keys, each key given the past and the keys below it: LSTM(256) and NADE with 128 hidden units.

    python -m musicjax.main --config=frames_nade --data=polyphonic:jsb:DIR

On the JSB chorales, 300 epochs take three minutes on two cores and end at 5.03 nats a frame on the test split. After
Boulanger-Lewandowski, Bengio and Vincent 2012, who put NADE above a plain recurrent network.
"""

from musicjax.config import Config, DataConfig, FramesData, FramesModel, ModelConfig, TrainConfig


def get_config() -> Config:
    return Config(
        name="frames_nade",
        data=DataConfig(window=64, own=FramesData(per_beat=1, transpose=6)),
        model=ModelConfig(units=256, dropout=0.3, own=FramesModel(head="nade", head_units=128)),
        train=TrainConfig(
            optimizer="adam", learning_rate=4e-3, half_life=80.0, clip_norm=5.0, batch_size=8, epochs=300
        ),
    )
