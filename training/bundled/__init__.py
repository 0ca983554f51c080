"""Where the files lie that travel with the package: small GPT (and what it was before fine-tuning), prompts,
demonstrations, ordinary text.
"""

from pathlib import Path

_HERE = Path(__file__).parent

BUNDLED_MODEL_DIR = _HERE / "model"
BUNDLED_BASE_DIR = _HERE / "base"
BUNDLED_PROMPTS = _HERE / "prompts.jsonl"
BUNDLED_DEMONSTRATIONS = _HERE / "demonstrations"
BUNDLED_ORDINARY_TEXT = _HERE / "ordinary_text.jsonl.gz"
BUNDLED_RECIPE = _HERE / "recipe.json"
