"""Turns what people said about answers into a better model: pretraining, fine-tuning, reward, PPO, gate."""
