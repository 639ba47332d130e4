"""Fetching models of the Hugging Face Hub, and sending them there."""
