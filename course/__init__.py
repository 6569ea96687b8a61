"""The course: exercises, their tests and wrong solutions, and silent bugs; see README.md here."""
