"""Music within five minutes: the model of events on the built-in corpus, sized for two CPU cores.

    python -m musicjax.main --config=demo

Its end is runs/demo/report.html: curves, samples to listen to, and what they are like beside real pieces.
"""

from musicjax.config import Config, DataConfig, ModelConfig, SampleConfig, TrainConfig


def get_config() -> Config:
    return Config(
        name="demo",
        data=DataConfig(encoding="events", echo=0.9, window=64, transpose=6, louder=0, validation_fraction=0.1),
        model=ModelConfig(units=256, dropout=0.4, head="categorical", head_units=64, embedding=64),
        train=TrainConfig(
            optimizer="adam", learning_rate=4e-3, half_life=12.0, clip_norm=1.0, batch_size=16, epochs=60, patience=12
        ),
        sample=SampleConfig(temperature=0.9, min_p=0.1, no_repeat=16, every=10),
    )
