"""The silent bugs, with their answers: planted errors that run, raise nothing, and teach worse.

What some of them did to the score is told in README.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """One planted error: where it is, what is changed, and what a student should find out."""

    module: str
    name: str  # of the function in its module, `Class.method` for a method
    old: str  # what stands in the function exactly once
    new: str  # what stands there instead
    answer: str
    hint: str = ""  # what a student is told


BUGS = {
    1: Bug(
        module="critique",
        name="splice",
        old="learned=False",
        new="learned=True",
        answer="The bad actions are learned, all but idle ones and t' itself, which `learnable`"
        " takes out again since the agent revises behind it.  The steps up to t' must be marked as"
        " not learned: the agent is to see its error, not to make it.  The training loss looks as"
        " always, since nothing in it tells good tokens from bad ones.",
    ),
    2: Bug(
        module="agent_r",
        name="ChatFormat.encode",
        old="""\
            if learned:  # the piece begins with the token that ends the turn before
                labels[-len(piece)] = self.end
""",
        new="",
        answer="The token that ends a turn is learned at the end of a dialogue alone, since the end"
        " of every other turn comes with the user turn behind it.  So the agent hardly knows when"
        " to stop speaking: it writes on to the limit.",
    ),
    3: Bug(
        module="critique",
        name="splice",
        old="*good.steps[shared - back :]",
        new="*good.steps",
        answer="The good actions begin at the root, not behind the node that bad and good share:"
        " the agent learns to start the whole task again after a mistake, and many splices can no"
        " longer be carried out within the step limit.",
    ),
    4: Bug(
        module="train",
        name="fine_tune",
        old="        optimizer.zero_grad(set_to_none=True)\n",
        new="",
        answer="Gradients are never set to zero, so every step follows the sum of all gradients so"
        " far; clipping to norm 1 hides how large that has grown.",
    ),
    5: Bug(
        module="train",
        name="Run.fine_tune",
        old="rest = 1 - self.config.eta",
        new="rest = self.config.eta",
        answer="General data weighs eta as well, not 1 - eta: whatever eta is, half of all examples"
        " are general data, where the preset's 0.8 means one in five, and the agent spends its"
        " steps on what the warm-up taught it already.",
    ),
    6: Bug(
        module="mcts",
        name="backpropagate",
        old="""\
        node.value_sum += value
        node = node.parent""",
        new="""\
        node = node.parent
    leaf.value_sum += value""",
        answer="The value is added at the leaf alone, the visits on the whole path.  Every inner"
        " node looks worthless, so the search spreads over the tree instead of going where"
        " episodes succeed.",
    ),
    7: Bug(
        module="train",
        name="Run.search",
        old='derive(config, iteration, f"tasks {name}")',
        new='derive(config, 0, f"tasks {name}")',
        answer="The generator does not depend on the iteration, so each iteration searches the same"
        " tasks, and the agent trains on ever more episodes of ever the same layouts.",
    ),
    8: Bug(
        module="critique",
        name="judge",
        old="questions[point].step",
        new="questions[max(0, point - 1)].step",
        answer="t' is one step too early: the agent learns to change its mind after an action that"
        " was right.",
    ),
    9: Bug(
        module="critique",
        name="execute",
        old="return executed if executed.won or executed.score >= revision.score else None",
        new="return executed",
        answer="A splice is kept wherever it can be carried out, whatever the world then pays:"
        " r(revision) = r(good) is no longer checked, and the agent learns endings that fail.",
    ),
}
