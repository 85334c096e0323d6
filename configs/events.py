"""Note events for hundreds of songs: the model of choice for music.

python -m musicjax.main --config=events --data=DIR
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
        name="events",
        data=DataConfig(window=128, own=EventsData(transpose=6, velocity_shift_bins=1, match_share=0.9)),
        model=ModelConfig(units=512, dropout=0.4, own=EventsModel(head_units=128, embedding=128)),
        train=TrainConfig(
            optimizer="adam", learning_rate=3e-3, half_life=6.0, clip_norm=1.0, batch_size=64, epochs=28, patience=8
        ),
        sample=SampleConfig(every=4, own=EventsSample(min_p=0.04, temperature_factors=(1.0, 0.75, 1.0, 1.3))),
    )
