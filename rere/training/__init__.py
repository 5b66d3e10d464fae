"""Supervised fine-tuning (TRL) and reinforcement learning by token tree."""
