"""Every module shows itself: what `python envs.py`, `agent_r.py CHECKPOINT`, `mcts.py` and `critique.py` print.

Seconds each, no training needed unless a checkpoint is named.  `command` runs one of the functions as a program.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import os
import random
import sys
from collections.abc import Callable, Sequence

import torch
from transformers.utils.logging import disable_progress_bar

import agent_r
import mcts
from agent_r import BAD, GOOD, REVISE, Actor, Dialogues, Episode, Step, play
from critique import REVISION_THOUGHTS, verified_splice
from envs import BUILT_IN, EXTRAS, UserError, first_error, make_world


def command(function: Callable[..., None], words: Sequence[str] | None = None) -> int:
    """Run a function as a program, its parameters the arguments; a user's mistake is one sentence and status 2."""
    parser = argparse.ArgumentParser(description=function.__doc__)
    for name, parameter in inspect.signature(function).parameters.items():
        is_flag, must = parameter.kind is parameter.KEYWORD_ONLY, parameter.default is parameter.empty
        optional = {} if is_flag or must else {"nargs": "?"}
        parser.add_argument(f"--{name}" if is_flag else name, default=parameter.default, **optional)
    try:
        function(**vars(parser.parse_args(words)))
    except UserError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except (EOFError, KeyboardInterrupt):
        print()
    except BrokenPipeError:  # `python mcts.py | head` has read enough; what is left goes nowhere, also at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def play_by_hand(world: str = "", task: str = "") -> None:
    """List the worlds, or play a task of one by hand; an empty line ends it."""
    if not world:
        for name, made in BUILT_IN.items():
            print(f"{name}: {made.__doc__.splitlines()[0]}\n    for example {made().tasks('test')[0]}")
        print(f"{', '.join(EXTRAS)}: see extras/\nmodule:Class: a world of your own")
        return
    played = make_world(world)()
    observation, info = played.reset(options={"task": task or played.tasks("test")[0]})
    print(f"{info['instruction']}\n{observation}")
    over = False
    while not over and (action := input("> ").strip()):
        observation, _, terminated, truncated, info = played.step(action)
        over = terminated or truncated
        print(f"{observation}  [{'the end, ' if over else ''}score {info['score']:.2f}]")


def watch(checkpoint: str, *, env: str = "lab", task: str = "") -> None:
    """Let the agent in the folder CHECKPOINT play a test task; its revisions are marked."""
    disable_progress_bar()  # loading a small model is no news
    make = make_world(env)
    (played,) = play(Actor.load(checkpoint), make, [(task or make().tasks("test")[0], ())], batch_size=1)
    print(agent_r.show(played, [step.action == REVISE for step in played.steps]))
    print(f"task {played.task}, score {played.score:.2f}")


def search_one(world: str = "lab") -> None:
    """Search a task of WORLD and print what was visited; the actor says at random what one might sensibly try."""
    state, rng = make_world(world)(), random.Random(0)
    if not hasattr(state, "choices"):
        raise UserError(f"{world} does not know what one might sensibly try in it; lab, shop and craft do")

    class Chance(Dialogues):
        def replies(self, temperature: float, generator: torch.Generator | None = None) -> list[str]:  # noqa: ARG002
            return [f"Action: {rng.choice(state.choices())}" for _ in self.mask]  # the one episode is in this state

    actor = Actor.tiny(state.words)
    actor.start = functools.partial(Chance, actor)
    sampling = (12, 4, 0.25, 1.0, torch.Generator())
    (tree,) = mcts.search(actor, lambda: state, state.tasks("train")[:1], *sampling, max_depth=8)
    print(mcts.show(tree))


def revise_one(world: str = "lab") -> None:
    """Print a failed episode of random choices, judged by the truth, and its revision, what is learned marked `*`."""
    made = make_world(world)()
    if not (hasattr(made, "expert") and hasattr(made, "choices")):
        raise UserError(f"{world} cannot tell right from wrong at every step; lab, shop and craft can")
    task, thought = made.tasks("test")[0], REVISION_THOUGHTS[0]
    made.reset(options={"task": task})
    good = Episode(made, task, [Step(f"Action: {action}", action, "", 0.0) for action in made.expert()]).trajectory
    for seed in range(1000):  # until one fails, after a good step or more, and can be mended
        rng, bad = random.Random(seed), Episode(made, task, limit=8)
        while not bad.done:
            bad.act(f"Action: {rng.choice([*made.choices(), *(made.expert() or ())[:1] * 4])}")
        failed = bad.trajectory
        error = first_error(made, task, [step.action for step in failed.steps])
        kept = error and verified_splice(made, failed, [(good, good.learned())], error, thought)
        if kept and failed.score < 1.0:
            break
    else:
        raise UserError(f"{world} let nothing fail that could be mended")
    print(f"A failed episode (score {failed.score:.2f}), judged by the truth:\n{failed.opening}")
    for t, step in enumerate(failed.steps):
        verdict = GOOD if t < error else f"{BAD}, the first error" if t == error else "not judged"
        print(f"  {step.reply}\n    {step.observation}  [{verdict}]")
    print(f"\nIts revision (score {kept[0].score:.2f}); only what is marked * is learned:\n{agent_r.show(*kept)}")
