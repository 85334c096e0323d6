"""Music within minutes: note events of the built-in corpus, sized for two CPU cores.

    python -m musicjax.main --config=demo

Writes runs/demo/report.html: learning curves, samples to listen to, and metrics beside those of real pieces.
"""

from musicjax.config import (
    Config,
    DataConfig,
    EventsData,
    EventsModel,
    EventsSample,
    ModelConfig,
    SampleConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        name="demo",
        data=DataConfig(window=64, validation_fraction=0.1, own=EventsData(transpose=6, match_share=0.9)),
        model=ModelConfig(units=256, dropout=0.4, own=EventsModel(head_units=56, embedding=56)),
        train=TrainConfig(
            optimizer="adam", learning_rate=4e-3, half_life=12.0, clip_norm=1.0, batch_size=16, epochs=60, patience=12
        ),
        sample=SampleConfig(temperature=0.9, every=10, own=EventsSample(min_p=0.1)),
    )
