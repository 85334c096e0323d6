"""BALSTM: an LSTM along time for every key, its weights tied over the keys, then one along the keys of a frame.

    python -m musicjax.main --config=balstm --data=polyphonic:jsb:DIR

Johnson, "Generating Polyphonic Music Using Tied Parallel Networks", EvoMUSART 2017: two layers of 200 and two of 100,
dropout 0.5, RMSprop at 1e-3 with Nesterov momentum 0.9. Window, batch and transposition are ours. Of the four data
sets, jsb has one frame per quarter note; the others need --config.data.per_beat=2. For MIDI files, add
--config.data.per_beat=4.
"""

from musicjax.config import Config, DataConfig, FramesData, FramesModel, ModelConfig, TrainConfig


def get_config() -> Config:
    return Config(
        name="balstm",
        data=DataConfig(window=64, own=FramesData(per_beat=1, transpose=6, bar_position=True)),
        model=ModelConfig(
            units=200, layers=2, dropout=0.5, layer_dropout=0.5, own=FramesModel(head="note_lstm", head_units=100)
        ),
        train=TrainConfig(learning_rate=1e-3, momentum=0.9, batch_size=8, epochs=100, histograms=False),
    )
