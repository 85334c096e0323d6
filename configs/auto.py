"""Note events, with a size and settings that short trials choose for the data within a time limit.

    python -m musicjax.main --data=DIR --minutes=10

Every trial starts from these values. Size, dropout, transposition, epochs and sampling parameters are chosen for the
folder; see docs/guide.md.
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
        name="auto",
        data=DataConfig(window=64, validation_fraction=0.1, own=EventsData(match_share=0.9)),
        model=ModelConfig(units=256, dropout=0.4, own=EventsModel(head_units=64, embedding=64)),
        train=TrainConfig(
            optimizer="adam",
            learning_rate=4e-3,
            half_life=20.0,
            clip_norm=1.0,
            batch_size=16,
            epochs=60,
            patience=12,
            histograms=False,
        ),
        sample=SampleConfig(temperature=0.9, own=EventsSample(min_p=0.2, best_of=16)),
    )
