"""The silent bugs, with their answers: planted errors that run, raise nothing, and teach worse.

None stands in a function that is an exercise: a student has just written those.
"""

from __future__ import annotations

from dataclasses import dataclass

Edits = tuple[tuple[str, str], ...]  # pieces of a function, and what stands instead


@dataclass(frozen=True)
class Bug:
    """One planted error: where it is, what is changed, and what a student should find out."""

    module: str
    name: str  # of the function in its module, `Class.method` for a method
    old: str  # what stands in the function exactly once
    new: str  # what stands there instead
    hint: str  # what a student is told
    answer: str
    otherwise: tuple[Edits, Edits]  # two ways to write the sound function


BUGS = {
    1: Bug(
        module="critique",
        name="learnable",
        old="learned = step.learned\n",
        new="learned = True\n",
        hint="The score rises once, and then no more.  What in `data.jsonl` is the agent made to"
        " imitate?",
        answer="The bad actions of a revision are learned, all but idle ones and t' itself: a step"
        " that is context already must stay so, and `learnable` may only take learning away.  The"
        " training loss looks as always, since nothing in it tells good tokens from bad ones.",
        otherwise=(
            (("learned = step.learned\n", "learned = bool(step.learned)\n"),),
            (
                ("learned = step.learned\n", "stumbled = []\n"),
                (
                    "== REVISE:\n            learned = False",
                    "== REVISE:\n            stumbled += [t]",
                ),
                ("idle[t]:\n            learned = False", "idle[t]:\n            stumbled += [t]"),
                ("learned=learned", "learned=step.learned and not stumbled"),
            ),
        ),
    ),
    2: Bug(
        module="train",
        name="pad",
        old="torch.full((len(batch), longest), -100)",
        new="torch.full((len(batch), longest), 0)",
        hint="The data are right, and every example's labels are.  Count the learned tokens of a"
        " batch, and compare with what its examples say of themselves.",
        answer="The padding is learned: behind the end of every shorter example the agent is taught"
        " to say `<pad>`, and by the number of all these tokens the loss is divided.",
        otherwise=(
            (
                (
                    "torch.full((len(batch), longest), -100)",
                    "torch.full((len(batch), longest), 0) - 100",
                ),
            ),
            (
                (
                    "labels = torch.full((len(batch), longest), -100)",
                    "labels = torch.empty(len(batch), longest, dtype=torch.long).fill_(-100)",
                ),
            ),
        ),
    ),
    3: Bug(
        module="critique",
        name="verified_splice",
        old="return executed\n",
        new="return revision\n",
        hint="Every revision in `data.jsonl` can be carried out.  Play one by hand in its world,"
        " and compare what you hear.",
        answer="The splice is kept as it was put together, not as the world carried it out: behind"
        " the revision the agent is shown the observations of another state, which the world"
        " never gives there.",
        otherwise=(
            (
                ("if executed is not None:\n", "if isinstance(executed, Trajectory):\n"),
                ("return executed\n", "return replace(executed)\n"),
            ),
            (
                ("executed = execute(world, revision)\n", "made = execute(world, revision)\n"),
                ("if executed is not None:\n", "if made:\n"),
                ("return executed\n", "return made\n"),
            ),
        ),
    ),
    4: Bug(
        module="train",
        name="fine_tune",
        old="            (weight * loss).backward()\n",
        new="            optimizer.zero_grad(set_to_none=True)\n"
        "            (weight * loss).backward()\n",
        hint="The data, the labels and the mix are right.  Which examples of a batch does a step of"
        " the optimiser follow?",
        answer="Gradients are set to zero before each micro-batch, not behind each step, so of"
        " every batch the last micro-batch alone is learned; the loss that is reported is that of"
        " all of them, as it should be.",
        otherwise=(
            (
                (
                    "            (weight * loss).backward()\n",
                    "            torch.autograd.backward(weight * loss)\n",
                ),
                (
                    "        optimizer.zero_grad(set_to_none=True)\n",
                    "        for parameter in model.parameters():\n"
                    "            parameter.grad = None\n",
                ),
            ),
            (
                (
                    "            (weight * loss).backward()\n",
                    "            weighted = weight * loss\n            weighted.backward()\n",
                ),
                ("        optimizer.zero_grad(set_to_none=True)\n", "        model.zero_grad()\n"),
            ),
        ),
    ),
    5: Bug(
        module="train",
        name="Run.fine_tune",
        old="rest = 1 - self.config.eta",
        new="rest = self.config.eta",
        hint="The revisions in `data.jsonl` are right.  Count what the batches are made of.",
        answer="General data weighs eta as well, not 1 - eta: whatever eta is, half of all examples"
        " are general data, where the preset's 0.8 means one in five, and the agent spends its"
        " steps on what the warm-up taught it already.",
        otherwise=(
            (
                (
                    "rest = 1 - self.config.eta",
                    "rest = 1.0\n        rest -= self.config.eta",
                ),
            ),
            (("rest = 1 - self.config.eta", "rest = -(self.config.eta - 1)"),),
        ),
    ),
    6: Bug(
        module="mcts",
        name="finish",
        old="node.expanded and all(below)",
        new="node.expanded and any(below)",
        hint="Count the simulations in `trees.jsonl`, and look for what was sampled and never"
        " played.",
        answer="A node counts as finished as soon as one of its children is: the search passes over"
        " what it has never tried, and trees end early, with fewer leaves and fewer pairs.",
        otherwise=(
            (("all(below)", "False not in below"),),
            (
                ("child.finished for child in", "one for one in"),
                ("node.children.values()]", "node.children.values() if not one.finished]"),
                ("(node.expanded and all(below))", "(node.expanded and not below)"),
            ),
        ),
    ),
    7: Bug(
        module="train",
        name="Run.search_world",
        old='derive(config, iteration, f"tasks {name}")',
        new='derive(config, 1, f"tasks {name}")',
        hint="The trees of iteration 2 look familiar.",
        answer="The generator does not depend on the iteration, so each iteration searches the same"
        " tasks, and the agent trains on ever more episodes of ever the same layouts.",
        otherwise=(
            (
                (
                    'derive(config, iteration, f"tasks {name}")',
                    'derive(config, 0 + iteration, f"tasks {name}")',
                ),
            ),
            (
                (
                    'rng = derive(config, iteration, f"tasks {name}")\n',
                    'stage = f"tasks {name}"\n'
                    "        rng = derive(stage=stage, iteration=iteration, config=config)\n",
                ),
            ),
        ),
    ),
    8: Bug(
        module="critique",
        name="errors_by_critic",
        old="starts = [pair.shared for pair in pairs]",
        new="starts = [pair.shared + 1 for pair in pairs]",
        hint="Read ten revisions aloud.  At which action does the agent say that it was wrong?",
        answer="Judging begins one step behind the shared node, so the first action in which bad"
        " and good differ is never asked about.  Where it was the first error, t' comes too late,"
        " or the pair is dropped.",
        otherwise=(
            (
                (
                    "starts = [pair.shared for pair in pairs]",
                    "starts = [len(pair.bad.path()) for pair in pairs]\n"
                    "    starts = [pair.shared for pair in pairs if starts]",
                ),
            ),
            (
                (
                    "starts = [pair.shared for pair in pairs]",
                    "starts = []\n    for pair in pairs:\n"
                    "        starts.append(shared_steps(pair.bad, pair.goods[0]))",
                ),
            ),
        ),
    ),
    9: Bug(
        module="critique",
        name="good_examples",
        old="rng.sample(goods, min(settings.pairs, len(goods)))",
        new="rng.sample(leaves, min(settings.pairs, len(leaves)))",
        hint="More examples than it should be are called good.  What are their scores?",
        answer="Any leaf is taken for a good one, whatever its score is: the agent imitates its own"
        " failures as if they were successes.",
        otherwise=(
            (
                (
                    "rng.sample(goods, min(settings.pairs, len(goods)))",
                    "rng.sample(goods, k=min(len(goods), settings.pairs))",
                ),
            ),
            (
                (
                    "        for leaf in rng.sample(goods, min(settings.pairs, len(goods))):\n",
                    "        drawn = goods\n"
                    "        if len(goods) > settings.pairs:\n"
                    "            drawn = rng.sample(goods, settings.pairs)\n"
                    "        for leaf in drawn:\n",
                ),
            ),
        ),
    ),
}
