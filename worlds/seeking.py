"""lab with an expert that sees only what the agent sees: it looks for the thing, room after room.

Lab's own expert knows where everything is, so whoever clones it guesses and cannot go on from a
wrong guess.  This one shows how to search.  `--env worlds.seeking:SeekingLab` tells what of
Agent-R's gain is left where demonstrations do.
"""

from __future__ import annotations

import itertools

from envs import Lab


class SeekingLab(Lab):
    """The same house and tasks as lab's, with an expert that has to seek.

    Until it has seen the thing, it goes through the floor that the instruction names.  (The rooms
    that it has seen are lab's own `seen`.)
    """

    def expert(self) -> list[str] | None:
        """Return what it is going to do, as it will turn out.

        It goes through the unseen rooms in their order until the thing is there, then lab's way.
        """
        if self.done or self.home in self.seen:
            return super().expert()
        floor = self.UP if self.home in self.UP else self.DOWN
        ahead = [room for room in floor if room in self.HIDING and room not in self.seen]
        last = ahead.index(self.home)
        tour = [self.room, *ahead[: last + 1]]
        search = []
        for start, end in itertools.pairwise(tour):
            search += self._walk(start, end)
        delivery = self._walk(self.home, self.goal)
        return [*search, f"take {self.thing}", *delivery, f"put {self.thing}"]
