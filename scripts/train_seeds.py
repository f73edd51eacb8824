"""Write ``src/podium/seeds/trained.bin`` anew: after a change of the seeds, of hashing or of training.

    python scripts/train_seeds.py

A test says when it is due.
"""

from __future__ import annotations

from podium import seeds
from podium.core.classifier import Example, train
from podium.core.ngrams import features
from podium.services.classifier import digest_of


def main() -> None:
    """Train on the seeds alone."""
    examples = [Example(task, features(text)) for task, text in seeds.seed_prompts()]
    content = train(examples, digest_of(seeds.seeds_digest(), ())).pack()
    (seeds.FOLDER / "trained.bin").write_bytes(content)
    print(f"{len(examples)} prompts, {len(content)} bytes")


if __name__ == "__main__":
    main()
