"""PPO with a KL penalty and a pretraining mix: equations, rollouts, the update and the loop."""
