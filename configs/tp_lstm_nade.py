"""TP-LSTM-NADE: an LSTM along time for every key and NADE over the keys, the weights of both tied over the keys.

    python -m musicjax.main --config=tp_lstm_nade --data=polyphonic:jsb:DIR

Like balstm, from the same paper, but with 100 hidden units that see the keys below instead of an LSTM along the keys.
Of the four data sets, jsb has one frame per quarter note; the others need --config.data.per_beat=2. For MIDI files, add
--config.data.per_beat=4.
"""

from musicjax.config import Config, DataConfig, FramesData, FramesModel, ModelConfig, TrainConfig


def get_config() -> Config:
    return Config(
        name="tp_lstm_nade",
        data=DataConfig(window=64, own=FramesData(per_beat=1, transpose=6, bar_position=True)),
        model=ModelConfig(
            units=200, layers=2, dropout=0.5, layer_dropout=0.5, own=FramesModel(head="tied_nade", head_units=100)
        ),
        train=TrainConfig(learning_rate=1e-3, momentum=0.9, batch_size=8, epochs=100, histograms=False),
    )
