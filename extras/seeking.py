"""lab with an expert that sees only what the agent sees: it looks for the thing, one room after the other.

Lab's own expert knows where everything is, so whoever clones it guesses and cannot go on from a wrong guess.  This one
shows how to search.  `--env extras.seeking:SeekingLab` tells what of Agent-R's gain is left where demonstrations do.
"""

from __future__ import annotations

import itertools

from envs import Lab


class SeekingLab(Lab):
    """The same house and tasks as lab's; until it has seen the thing, the expert goes through the floor it was told."""

    def begin(self, task: str) -> tuple[str, str]:
        """Lab's; the first room is seen at once."""
        told = super().begin(task)
        self.seen = {self.room}
        return told

    def act(self, action: str) -> str:
        """Lab's; wherever that leads is seen."""
        said = super().act(action)
        self.seen.add(self.room)
        return said

    def expert(self) -> list[str] | None:
        """What it is going to do, as it will turn out: through the unseen rooms in their order, then lab's way."""
        if self.home in self.seen:
            return super().expert()
        floor = self.UP if self.home in self.UP else self.DOWN
        unseen = [room for room in floor if room in self.HIDING and room not in self.seen]
        tour = [self.room, *unseen[: unseen.index(self.home) + 1]]
        search = [move for start, end in itertools.pairwise(tour) for move in self._walk(start, end)]
        here, self.room = self.room, self.home
        way = super().expert()
        self.room = here
        return None if way is None else [*search, *way]
