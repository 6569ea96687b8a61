"""The silent bugs, with their answers: planted errors that run, raise nothing, and teach the agent something worse.

Measured so far with the command of the README (commit 01c002b, seed 0, one thread), score at iterations 0, 1 and 2: no
bug 21.0, 59.7, 81.0; bug 1 21.0, 58.3, 66.5; bug 2 16.7, 3.6, 3.5.

`change` is a whole new body of the function, or pairs (what stands there exactly once, what stands there instead).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """One planted error: where it is, what is changed, and what a student should find out."""

    module: str
    name: str  # of the function, qualified
    change: str | tuple[tuple[str, str], ...]
    answer: str


BUGS = {
    1: Bug(
        "critique",
        "splice",
        (("[False] * len(before)", "[True] * len(before)"),),
        "The bad actions are learned.  The flags of the steps up to t' must be False: the agent is to see its error, "
        "not to make it.  The training loss looks as always, since nothing in it tells good tokens from bad ones.",
    ),
    2: Bug(
        "agent_r",
        "ChatFormat.encode",
        """
        ids, labels = [], []
        for index, message in enumerate(messages):
            if message["role"] != ("user", "assistant")[index % 2]:
                raise ValueError(f"turn {index} is a {message['role']} turn; user and assistant must alternate")
            if message["role"] == "user":
                piece = self.turn(message["content"]) if index else self.opening(message["content"])
                ids += piece
                labels += [-100] * len(piece)
            else:
                content = self._content(message["content"])
                ids += content
                labels += content if message["loss"] else [-100] * len(content)
        if messages[-1]["role"] == "assistant":
            ids.append(self.end)
            labels.append(self.end if messages[-1]["loss"] else -100)
        return ids, labels
        """,
        "The token that ends a turn is learned at the end of a dialogue alone, since the end of every other turn comes "
        "with the user turn behind it.  So the agent hardly knows when to stop speaking: it writes on to the limit.",
    ),
    3: Bug(
        "critique",
        "splice",
        (("good.steps[shared - back :]", "good.steps"), ("good.learned())[shared - back :]", "good.learned())")),
        "The good actions begin at the root, not behind the node that bad and good share: the agent learns to start "
        "the whole task again after a mistake, and many splices can no longer be carried out within the step limit.",
    ),
    4: Bug(
        "train",
        "fine_tune",
        (("optimizer.step()\n        optimizer.zero_grad(set_to_none=True)", "optimizer.step()"),),
        "Gradients are never set to zero, so every step follows the sum of all gradients so far; clipping to norm 1 "
        "hides how large that has grown.",
    ),
    5: Bug(
        "train",
        "run",
        (
            ("(agent_data, config.eta)", "(agent_data, 1 - config.eta)"),
            ("(1 - config.eta) * share", "config.eta * share"),
        ),
        "eta and 1 - eta have changed places: with the preset's 0.8, four examples of five are general data, and the "
        "agent learns once more what the warm-up taught it.",
    ),
    6: Bug(
        "mcts",
        "backpropagate",
        """
        node: Node | None = leaf
        leaf.value_sum += value
        while node is not None:
            node.visits += 1
            node = node.parent
        """,
        "The value is added at the leaf alone, the visits on the whole path.  Every inner node looks worthless, so the "
        "search spreads over the tree instead of going where episodes succeed.",
    ),
    7: Bug(
        "train",
        "self_examples",
        (('derive(config, iteration, f"tasks {name}")', 'derive(config, 0, f"tasks {name}")'),),
        "The generator does not depend on the iteration, so each iteration searches the same tasks, and the agent "
        "trains on ever more episodes of ever the same layouts.",
    ),
    8: Bug(
        "critique",
        "find_first_errors",
        (("asked[t][0] for", "asked[max(0, t - 1)][0] for"),),
        "t' is one step too early: the agent learns to change its mind after an action that was right.",
    ),
    9: Bug(
        "critique",
        "execute",
        (("episode.trajectory if episode.trajectory.score >= revision.score else None", "episode.trajectory"),),
        "A splice is kept wherever it can be carried out, whatever the world then pays: r(revision) = r(good) is no "
        "longer checked, and the agent learns endings that fail.",
    ),
}
