"""Worlds that are not the lab, a file each; `envs.make_world` imports one by its name."""
