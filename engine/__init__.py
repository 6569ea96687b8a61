"""What runs underneath the method and is not the method: templates, models, caches, folders."""


class UserError(Exception):
    """A mistake of the user's, told in one sentence: what was wrong and what would be right."""
