"""The biaxial LSTM as used by Kotecha and Young 2018: does each key sound, and if so, does a new note begin?

    python -m musicjax.main --config=kotecha_young --data=DIR

"Generating Music using an LSTM Network", arXiv 1804.07300, after danieldjohnson/biaxial-rnn-music-composition (2015):
two layers of 300 along time, dropout 0.5, Adadelta, 78 keys. Along the keys, that program has layers of 100 and 50;
here both have 100. DIR is a folder of MIDI files. The four frame data sets do not mark where notes begin and use more
keys: they need --config.data.onsets=false, --config.data.keys=88 and --config.data.per_beat=1 for jsb or
--config.data.per_beat=2 for the others.
"""

from musicjax.config import Config, DataConfig, FramesData, FramesModel, ModelConfig, TrainConfig


def get_config() -> Config:
    return Config(
        name="kotecha_young",
        data=DataConfig(window=64, own=FramesData(per_beat=4, onsets=True, transpose=6, keys=78, bar_position=True)),
        model=ModelConfig(
            units=300, layers=2, dropout=0.5, layer_dropout=0.5, own=FramesModel(head="note_lstm", head_units=100)
        ),
        train=TrainConfig(optimizer="adadelta", learning_rate=1.0, batch_size=8, epochs=100, histograms=False),
    )
