"""Every model type of transformers that builds from its default config, rehearsed with LoRA."""
