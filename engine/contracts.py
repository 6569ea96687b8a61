"""What a world owes to those who play in it, looked at where it is asked.

Anybody's world may return or raise anything.  What is no observation, score or task is told in a
sentence that names the world, and so is what it raises, with the line that raised it: a world's own
fault is never taken for one of ours.

Read in order: `begun` and `answered` (what `World.reset` and `World.step` ask for), `own_world` (a
class of `--env module:Class`) and `KEPT` (what such a class is asked for besides).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import math
import numbers
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from engine import UserError
from engine.replies import actions_of, parse_action

LONGEST = 1_000_000  # characters of an observation, and names of tasks that are looked at
MOST_STEPS = 10_000  # of an episode; more fit no context
SHOWN = 5  # worlds of a module
DISJOINT = ("train", "validation", "test")  # `envs.SPLITS`, which this module cannot import
REVISE = "revise"  # `agent_r.REVISE`, which this module cannot import
LOOKING = ("expert", "gold", "choices", "thought")  # methods that leave an episode as it is

# --- what an episode asks for


def begun(world: Any, task: str) -> tuple[str, str]:
    """Return the instruction and the first observation of a task.  Raises `UserError`."""
    world.task_now = task
    with naming(world, "begin"):
        pair = world.begin(task)
    check_pair(world, "begin", pair, "an instruction and an observation")
    for text in pair:
        check_text(world, "begin", text)
    check_state(world, "begin")
    if hasattr(world, "kept_here"):  # of a class that went through `keep`
        check_counts(world)
    if world.done:
        raise broken(world, "begin has set done, but no episode is over before its first action")
    return pair


def answered(world: Any, action: str) -> str:
    """Return what a world answers to an action.  Raises `UserError`."""
    with naming(world, "act", action):
        observation = world.act(action)
    check_text(world, "act", observation, action)
    check_state(world, "act", action)
    return observation


def check_state(world: Any, method: str, action: str | None = None) -> None:
    """Look at the score, and at what tells whether the episode is over and a success."""
    world.score = checked_score(world, method, world.score, action)
    world.done = checked_truth(world, f"{method} has set done to", world.done, action)
    if world.won is not None:
        world.won = checked_truth(world, f"{method} has set won to", world.won, action)
    if not isinstance(world.effect, str):
        raise broken(
            world, f"{method} has set effect to {world.effect!r}, which is no text", action
        )


def checked_score(world: Any, method: str, score: Any, action: str | None = None) -> float:
    """Return a score as a plain number; raises `UserError` for what is none in [0, 1]."""
    if type(score) is float and 0.0 <= score <= 1.0:
        return score
    if not isinstance(score, numbers.Real) or not 0 <= score <= 1:
        needed = "a score is a number from 0 to 1"
        raise broken(world, f"{method} makes the score {score!r}; {needed}", action)
    return float(score)


def checked_truth(world: Any, what: str, value: Any, action: str | None = None) -> bool:
    """Return a truth value as Python's own; raises `UserError` for what is none."""
    if value is True or value is False:
        return value
    whole = isinstance(value, int | numpy.bool_ | numpy.integer)
    if not whole or value not in (0, 1):
        raise broken(world, f"{what} {value!r}, which is neither True nor False", action)
    return bool(value)


def check_text(world: Any, method: str, text: Any, action: str | None = None) -> None:
    """Raise `UserError` for what is no text that an agent can read."""
    if not isinstance(text, str):
        problem = f"{method} returns {kind_of(text)} where a text is needed"
    elif len(text) > LONGEST:
        problem = f"{method} returns a text of {len(text):,} characters, which nobody can read"
    elif not text.isascii() and is_torn(text):
        problem = f"{method} returns a text with half of a character in it"
    else:
        return
    raise broken(world, problem, action)


def is_torn(text: str) -> bool:
    """Whether a text holds half of a character, which can be neither sent nor stored."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def check_pair(world: Any, method: str, pair: Any, needed: str) -> None:
    """Raise `UserError` for what is no pair."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise broken(world, f"{method} returns {kind_of(pair)} where {needed} are needed")


# --- how it is told


@contextlib.contextmanager
def naming(world: Any, method: str, action: str | None = None) -> Iterator[None]:
    """Raise a `UserError` that names the world for whatever its own code raises in this block."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise broken(world, f"{method} raises {raised(error)}", action) from error


def broken(world: Any, problem: str, action: str | None = None) -> UserError:
    """Return the error of a world: which one, where it was, and what it did."""
    where = f"the world {getattr(world, 'name', None) or type(world).__name__}"
    task = getattr(world, "task_now", None)
    if task is not None:
        where += f", task {task!r}"
    if action is not None:
        where += f", action {action!r}"
    return UserError(f"{where}: {problem}")


def raised(error: BaseException) -> str:
    """Return an exception as part of a sentence: its kind, what it says, and what raised it."""
    told = type(error).__name__
    with contextlib.suppress(Exception):  # a stranger's exception may not be able to say anything
        told += f": {error}" if str(error) else ""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{told} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def kind_of(value: Any) -> str:
    """Return what a value is, as part of a sentence."""
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"


# --- anybody's own class


def imported(name: str, module_name: str) -> Any:
    """Return the module of the world that `--env` calls `name`.  Raises `UserError`."""
    path = Path(module_name)
    if module_name.startswith(".") or len(path.parts) != 1 or path.suffix == ".py":
        remedy = "name a module, as in coin:Coin, and its folder in PYTHONPATH"
        reason = f"{module_name!r} cannot be imported, as it is no module's name; {remedy}"
        raise UserError(f"--env {name}: {reason}")
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything
        module = module_name.removeprefix("worlds.")
        told = error if isinstance(error, ImportError) else raised(error)
        reason = f"the module {module} cannot be imported: {told}"
        raise UserError(f"--env {name}: {reason}") from error


def own_world(name: str, module: Any, class_name: str, base: type) -> Callable[[], Any]:
    """Check a class that is not ours, and return a maker of its copies.

    One that inherits nothing gets the defaults of `base`.
    """
    world_class = getattr(module, class_name, None)
    if world_class is None:
        here = f"the module {module.__name__} has no class {class_name!r}"
        raise UserError(f"--env {name}: no world, as {here}; {worlds_of(module, base)}")
    derived = isinstance(world_class, type) and issubclass(world_class, base)
    needed = ("tasks", "begin", "act") if derived else ("tasks", "reset", "step", "step_limit")
    for method in needed:
        value = getattr(world_class, method, None)
        if value is None or (derived and value is getattr(base, method)):
            hint = "derive a class from envs.World"
            raise UserError(f"--env {name}: no world, as it has no {method}; {hint}")
    if not isinstance(world_class, type):
        raise UserError(f"--env {name}: no world, as it is no class; derive one from envs.World")
    limit = world_class.step_limit
    if isinstance(limit, int) and not 1 <= limit <= MOST_STEPS:  # else its copies are looked at
        must = f"it must be at least 1 and at most {MOST_STEPS:,}"
        raise UserError(f"--env {name}: its step_limit is {limit}; {must}")
    if not derived:
        world_class = type(world_class.__name__, (world_class, base), {})
    check_settable(name, world_class, base)
    keep(world_class, base)
    return functools.partial(copy_of, name, world_class)


def copy_of(name: str, world_class: type) -> Any:
    """Return a copy of a class that is not ours.  Raises `UserError` if there can be none."""
    try:
        world = world_class()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # of an abstract class, say
        raise UserError(f"--env {name}: no copy of it can be made: {raised(error)}") from error
    if not isinstance(world, world_class):
        raise UserError(f"--env {name}: no copy of it can be made: calling it gives {world!r}")
    return world


def worlds_of(module: Any, base: type) -> str:
    """Return in words which worlds a module has of its own, some of them."""
    worlds = []
    for value in vars(module).values():
        here = isinstance(value, type) and value.__module__ == module.__name__
        if here and issubclass(value, base):
            worlds.append(value.__name__)
    if not worlds:
        return "it has none that is derived from envs.World"
    return f"it has {', '.join(worlds[:SHOWN])}"


def check_settable(name: str, world_class: type, base: type) -> None:
    """Raise `UserError` for a property in the place of what is set in each episode."""
    fields = ["told"]
    if world_class.reset is base.reset or world_class.step is base.step:
        fields += ["score", "done", "won", "effect"]
    for field in fields:
        own = inspect.getattr_static(world_class, field)
        if isinstance(own, property) and own.fset is None:
            problem = f"its {field} is a property that cannot be set"
            remedy = f"leave it a plain attribute, and set self.{field} in the methods"
            raise UserError(f"--env {name}: {problem}; {remedy}")


def keep(world_class: type, base: type) -> None:
    """Let a class be looked at by `KEPT` whenever it is asked for something.

    The class itself is changed, so that it stays the one that its author knows; it has a field
    `kept_here` from now on.
    """
    if "kept_here" in vars(world_class):
        return
    inherits_step = world_class.step is base.step
    for method, check in KEPT.items():
        if method == "reset" and inherits_step:
            check = kept_start
        own = inspect.getattr_static(world_class, method)  # a static method is no plain function
        if own is not inspect.getattr_static(base, method) or method == "__init__":
            setattr(world_class, method, kept(method, own, check))
    world_class.kept_here = True
    world_class.known_tasks = {}  # the names of each split that was asked for


def kept(method: str, own: Callable[..., Any], check: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that names its world in all that it raises, and whose result is checked."""
    called = "its constructor" if method == "__init__" else method

    @functools.wraps(own)
    def asked(self: Any, *args: Any, **named: Any) -> Any:
        action = args[0] if method == "step" and args else None
        if method == "reset":
            self.task_now = named["options"]["task"]
        with naming(self, called, action):
            before = state_of(self) if method in LOOKING else {}
            bound = own.__get__(self, type(self)) if hasattr(own, "__get__") else own
            result = bound(*args, **named)
            for field, value in before.items():
                if value != getattr(self, field):
                    problem = f"{method} changes {field} from {value!r} to {getattr(self, field)!r}"
                    raise broken(self, f"{problem}; whoever only looks must leave all as it is")
        if getattr(type(self), method) is not asked:  # a derived class asks, and answers itself
            return result
        return check(self, called, result, *args)

    return asked


def state_of(world: Any) -> dict[str, Any]:
    """Return where an episode stands, as far as everybody sees it."""
    return {field: getattr(world, field) for field in ("score", "done", "won")}


def kept_fields(world: Any, called: str, result: Any) -> Any:  # noqa: ARG001
    """Look at what a copy of a world says of itself, and whether an episode can be noted in it."""
    with naming(world, "setting an attribute"):
        world.task_now = None
    for field in ("name", "words", "manual", "told"):
        with naming(world, field):
            check_text(world, field, getattr(world, field))
    if not world.name.strip():
        raise broken(world, "its name is empty")
    check_counts(world)
    return result


def check_counts(world: Any) -> None:
    """Raise `UserError` for a number of steps or of copies that is none."""
    for field in ("step_limit", "parallel"):
        with naming(world, field):
            value = getattr(world, field)
        if not isinstance(value, int) or not 1 <= value <= MOST_STEPS:
            must = f"it must be a whole number, at least 1 and at most {MOST_STEPS:,}"
            raise broken(world, f"its {field} is {value!r}; {must}")


def kept_tasks(world: Any, method: str, names: Any, split: str = "") -> Any:
    """Look at the names of tasks, each of which must be a text of its own."""
    asked = f"{method}({split!r})"
    if not isinstance(names, Sequence) or isinstance(names, str | bytes):
        raise broken(world, f"{asked} returns {kind_of(names)} where a list of names is needed")
    with naming(world, asked):
        names = list(names)
    if not names:
        raise broken(world, f"{asked} names no tasks")
    seen = set()
    for name in names[:LONGEST]:
        check_text(world, asked, name)
        if name in seen:
            raise broken(world, f"{asked} names {name!r} twice")
        seen.add(name)
    check_disjoint(world, split, seen)
    return names


def check_disjoint(world: Any, split: str, names: set[str]) -> None:
    """Raise `UserError` for a task that stands in two of the splits that were asked for so far.

    The split that an expert shows may be another, and have tasks of these.
    """
    if split not in DISJOINT:
        return
    known: dict[str, set[str]] = type(world).known_tasks
    known[split] = names
    for other in known:
        shared = names & known[other] if other != split else set()
        if shared:
            problem = f"{min(shared)!r} stands in both {other} and {split}"
            raise broken(world, f"tasks: {problem}; the splits must be disjoint")


def kept_way(world: Any, method: str, way: Any) -> Any:
    """Look at a list of actions; an expert's is empty where it has arrived, and nowhere else.

    What is returned is a list of its own, since a world's may change as its episode goes on.
    """
    if way is None and method == "expert":
        return way
    if not isinstance(way, Sequence) or isinstance(way, str | bytes):
        raise broken(world, f"{method} returns {kind_of(way)} where a list of actions is needed")
    with naming(world, method):
        way = list(way)
    if len(way) > MOST_STEPS:
        raise broken(world, f"{method} returns {len(way):,} actions; {MOST_STEPS:,} are too many")
    for action in way:
        check_text(world, method, action)
        if method != "choices":
            check_sayable(world, method, action)
    under_way = hasattr(world, "_steps") and not (world.done or world.won or world.score >= 1)
    if method == "expert" and under_way and not way:
        problem = "expert returns no actions, though the score is not 1 and the episode not over"
        raise broken(world, f"{problem}; where no way is left it returns None")
    return way


def check_sayable(world: Any, method: str, action: str) -> None:
    """Raise `UserError` for an action that the agent's loop would change or keep to itself."""
    heard = parse_action(f"Action: {action}")
    if action == heard and action not in ("", REVISE):
        return
    if action == REVISE:
        problem = "which is the loop's own word for a revision, and reaches no world"
    elif heard:
        problem = f"which reaches the world as {heard!r}"
    else:
        problem = "which is read as no action"
    raise broken(world, f"{method} returns the action {action!r}, {problem}; give it another name")


def kept_thought(world: Any, method: str, thought: Any) -> Any:
    """Look at what an expert thinks, behind which its action must still be found."""
    check_text(world, method, thought)
    if actions_of(f"Thought: {thought}\nAction: {REVISE}") != [REVISE]:
        raise broken(world, f"{method} returns {thought!r}, in which a line begins with Action:")
    return thought


def kept_reset(world: Any, method: str, pair: Any) -> Any:
    """Look at the beginning of an episode in a world that has its own `reset`."""
    check_pair(world, method, pair, "an observation and its info")
    check_text(world, method, pair[0])
    check_info(world, method, pair[1], ("instruction",))
    check_text(world, f"{method} in its info", pair[1]["instruction"])
    return pair


def kept_start(world: Any, method: str, pair: Any) -> Any:
    """Look at the beginning of an episode whose steps `World.step` counts."""
    kept_reset(world, method, pair)
    if world.done or getattr(world, "_steps", None) != 0:
        problem = f"{method} leaves the episode over, so that no step can be taken"
        raise broken(world, f"{problem}; call World.reset in it, or write step as well")
    return pair


def kept_step(world: Any, method: str, result: Any, action: str) -> Any:
    """Look at the answer of a world that has its own `step`."""
    if not isinstance(result, tuple | list) or len(result) != 5:
        needed = "an observation, a gain, two truth values and an info are needed"
        raise broken(world, f"{method} returns {kind_of(result)} where {needed}", action)
    observation, gain, terminated, truncated, info = result
    check_text(world, method, observation, action)
    if not isinstance(gain, numbers.Real) or not math.isfinite(gain):
        raise broken(world, f"{method} returns the gain {gain!r}, which is no number", action)
    terminated = checked_truth(world, f"{method} returns as terminated", terminated, action)
    truncated = checked_truth(world, f"{method} returns as truncated", truncated, action)
    check_info(world, method, info, ("score",), action)
    info = {**info, "score": checked_score(world, method, info["score"], action)}
    if info.get("won") is not None:
        info["won"] = checked_truth(world, f"{method} returns as won", info["won"], action)
    check_text(world, f"{method} as effect", info.get("effect", ""), action)
    return observation, float(gain), terminated, truncated, info


def check_info(
    world: Any, method: str, info: Any, keys: Sequence[str], action: str | None = None
) -> None:
    """Raise `UserError` for an info that lacks something."""
    if not isinstance(info, Mapping):
        raise broken(world, f"{method} returns {kind_of(info)} where an info is needed", action)
    for key in keys:
        if key not in info:
            raise broken(world, f"{method} returns an info without {key!r}", action)


KEPT: dict[str, Callable[..., Any]] = {  # what is asked of a world, and what looks at the answer
    "__init__": kept_fields,
    "tasks": kept_tasks,
    "expert": kept_way,
    "gold": kept_way,
    "choices": kept_way,
    "thought": kept_thought,
    "reset": kept_reset,
    "step": kept_step,
}
