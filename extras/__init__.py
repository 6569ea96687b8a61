"""Worlds and tools that need more than the core packages; envs imports one when its name is asked for."""
