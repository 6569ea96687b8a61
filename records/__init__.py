"""What a run leaves in its files, and how it is read back: see docs/files.md."""
