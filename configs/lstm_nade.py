"""LSTM-NADE, which Johnson 2017 compares with his own models: two layers of 300 and NADE with 150 hidden units.

    python -m musicjax.main --config=lstm_nade --data=polyphonic:jsb:DIR

Like frames_nade, with the sizes and training from balstm's paper.
"""

from musicjax.config import Config, DataConfig, FramesData, FramesModel, ModelConfig, TrainConfig


def get_config() -> Config:
    return Config(
        name="lstm_nade",
        data=DataConfig(window=64, own=FramesData(per_beat=1, transpose=6)),
        model=ModelConfig(
            units=300, layers=2, dropout=0.5, layer_dropout=0.5, own=FramesModel(head="nade", head_units=150)
        ),
        train=TrainConfig(learning_rate=1e-3, momentum=0.9, batch_size=8, epochs=200),
    )
