"""Note events of thousands of pieces, for one large GPU or several: 3 layers of 2048 units.

    python -m musicjax.main --config=events_large --data=DIR

Nobody has measured these sizes yet.
"""

from musicjax.config import Config, DataConfig, ModelConfig, SampleConfig, TrainConfig


def get_config() -> Config:
    return Config(
        name="events_large",
        data=DataConfig(encoding="events", echo=0.9, window=512, transpose=6, louder=1),
        model=ModelConfig(units=2048, layers=3, dropout=0.4, head="categorical", head_units=512, embedding=512),
        train=TrainConfig(
            optimizer="adam", learning_rate=1e-3, half_life=6.0, clip_norm=1.0, batch_size=256, epochs=24, patience=8
        ),
        sample=SampleConfig(min_p=0.03, no_repeat=16, every=4),
    )
