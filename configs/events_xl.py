"""Note events of hundreds of thousands of pieces, for several GPUs or TPUs: 4 layers of 4096 units.

    python -m musicjax.main --config=events_xl --data=DIR

Each device keeps its part of the parameters, so the number of devices must divide the batch. Nobody has trained this
size yet; `docs/results.md` says what it needs.
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
        name="events_xl",
        data=DataConfig(window=512, own=EventsData(transpose=6, velocity_shift_bins=1, match_share=0.9)),
        model=ModelConfig(
            units=4096,
            layers=4,
            dropout=0.3,
            layer_dropout=0.2,
            remat_rows=32,
            own=EventsModel(head_units=512, embedding=512),
        ),
        train=TrainConfig(
            optimizer="adam",
            learning_rate=3e-4,
            half_life=3.0,
            clip_norm=1.0,
            batch_size=512,
            accumulate=2,
            shard_parameters=True,
            epochs=12,
            patience=4,
        ),
        sample=SampleConfig(every=2, own=EventsSample(min_p=0.03)),
    )
