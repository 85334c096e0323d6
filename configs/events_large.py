"""Note events of thousands of pieces, for one large GPU or several: 3 layers of 2048 units.

    python -m musicjax.main --config=events_large --data=DIR

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
        name="events_large",
        data=DataConfig(window=512, own=EventsData(transpose=6, velocity_shift_bins=1, match_share=0.9)),
        model=ModelConfig(
            units=2048, layers=3, dropout=0.4, layer_dropout=0.2, own=EventsModel(head_units=512, embedding=512)
        ),
        train=TrainConfig(
            optimizer="adam",
            learning_rate=1e-3,
            half_life=6.0,
            clip_norm=1.0,
            batch_size=256,
            accumulate=2,
            epochs=24,
            patience=8,
        ),
        sample=SampleConfig(every=4, own=EventsSample(min_p=0.03)),
    )
