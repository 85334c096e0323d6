"""Note events, for one GPU: 2 layers of 1024 units.

    python -m musicjax.main --config=events_gpu --data=DIR

Nobody has trained this size yet; `docs/results.md` says what it needs.
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
        name="events_gpu",
        data=DataConfig(window=256, own=EventsData(transpose=6, velocity_shift_bins=1, match_share=0.9)),
        model=ModelConfig(units=1024, layers=2, dropout=0.4, own=EventsModel(head_units=256, embedding=256)),
        train=TrainConfig(
            optimizer="adam", learning_rate=1e-3, half_life=6.0, clip_norm=1.0, batch_size=128, epochs=24, patience=8
        ),
        sample=SampleConfig(every=4, own=EventsSample(min_p=0.03)),
    )
