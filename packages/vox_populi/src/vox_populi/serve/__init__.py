"""Answering requests over HTTP: an engine with one model thread, and OpenAI's routes before it."""
