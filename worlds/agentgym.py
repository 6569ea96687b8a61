"""The environments of AgentGym's HTTP servers: `--env agentgym:KIND@URL`.

KIND is textcraft, sciworld, webshop, alfworld or babyai, as in
agentgym:webshop@http://localhost:36001; `KINDS` holds all that differs between them.  Every copy of
the world plays in an environment of its own on the server, which goes to another copy once it is
free and is closed at the end.  So the server holds as many as play at once (`--rollouts`; lower it
where they are heavy).  There is no expert to warm up from: these worlds need `--model`.

An action counts once.  A request whose answer is lost (none in time, a broken connection, a server
error) may have been carried out or may still be, so it is not sent again.  A new environment is
made, the task reset there, the actions so far played again, with the same observations, and then
comes the new one.  That is tried a few times; then a `UserError` tells what happened, as it does at
once for an answer that nobody can use.

Left out are the prompts of AgentGym's own clients and the paper's task numbers: instructions,
splits and step limits are ours.  Proxies are not used and redirects are not followed.

Read in order: `Kind` and `KINDS` (the table), `Server` (requests, environments), `AgentGym` (the
world), `make_world`.
"""

from __future__ import annotations

import functools
import json
import math
import re
import threading
import time
import urllib.request
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from envs import UserError, World
from worlds.manuals import MANUALS

# --- what differs between the servers


@dataclass(frozen=True)
class Kind:
    """One kind of server.  All tasks below `size` that are not held out are for training."""

    size: int
    validation: range
    test: range
    step_limit: int
    instruction: str

    # What requests call things.
    env_key: str = "id"  # the environment
    task_key: str = "data_idx"  # the number of the task, in a reset
    more: dict[str, str] = field(default_factory=dict)  # what else a reset has to be told

    # The fields of the answers that hold things.
    new_env: str | None = "id"  # of create's: the environment; None: the whole answer is its number
    description: str | None = None  # of a reset's: the task; None: the observation tells it
    start: str | int = "observation"  # of a reset's: the observation
    observation: str = "observation"  # of a step's
    score: str = "reward"  # of a step's

    full_score: float = 1.0  # the score that counts 1; one below 0 counts 0


# The server orders its goals by depth, so those held out are spread over all; 100 for testing, as
# in the paper.
TEXTCRAFT = Kind(
    size=544,
    validation=range(42, 544, 10),
    test=range(44, 544, 5),
    step_limit=20,
    instruction="You can: get N item, craft N item using N item, inventory.",
)

# The server's tasks stand type by type, so those held out are spread over all; 200 for testing, as
# in the paper.
SCIWORLD = Kind(
    size=4639,
    validation=range(40, 4639, 46),
    test=range(39, 4639, 23),
    step_limit=30,
    instruction=(
        "You can: look around, look at OBJ, look in OBJ, go to PLACE, open OBJ, close OBJ,"
        " pick up OBJ, put down OBJ, move OBJ to OBJ, focus on OBJ, activate OBJ, deactivate OBJ,"
        " use OBJ on OBJ, pour OBJ into OBJ, dunk OBJ into OBJ, mix OBJ, connect OBJ to OBJ,"
        " disconnect OBJ, read OBJ, eat OBJ, flush OBJ, wait, inventory, task."
    ),
    description="task_description",
    score="score",
    full_score=100.0,
)

# The server's goals are shuffled; WebShop itself trains from 1500 on.  200 for testing, as in the
# paper.
WEBSHOP = Kind(
    size=6910,
    validation=range(200, 1500),
    test=range(200),
    step_limit=15,
    instruction="You can: search[WORDS], click[BUTTON].",
    env_key="env_idx",
    task_key="session_id",
    new_env=None,
    start=0,
    observation="state",
)

# The last 200 games are the server's own test games.
ALFWORLD = Kind(
    size=2620,
    validation=range(0, 2420, 20),
    test=range(2420, 2620),
    step_limit=30,
    instruction=(
        "You can: go to PLACE, take THING from PLACE, put THING in/on PLACE, open PLACE,"
        " close PLACE, use THING, heat THING with PLACE, cool THING with PLACE,"
        " clean THING with PLACE, examine THING, look, inventory."
    ),
    task_key="game",
    more={"world_type": "Text"},
)

# Number n is level n % 40 with the layout n // 40; no layout is in two splits.
BABYAI = Kind(
    size=4000,
    validation=range(200, 400),
    test=range(200),
    step_limit=20,
    instruction=(
        "You can: turn left, turn right, move forward, go to OBJECT NUMBER, pick up OBJECT NUMBER,"
        " go through DOOR NUMBER, toggle and go through DOOR NUMBER, toggle."
    ),
    score="score",
)

KINDS = {
    "textcraft": TEXTCRAFT,
    "sciworld": SCIWORLD,
    "webshop": WEBSHOP,
    "alfworld": ALFWORLD,
    "babyai": BABYAI,
}


# --- a server

# By URL, since the resets of a server share a random generator.
RESET_LOCKS: dict[str, threading.Lock] = defaultdict(threading.Lock)

# With these handlers alone any status is an answer, a redirect too.
OPENER = urllib.request.OpenerDirector()
OPENER.add_handler(urllib.request.HTTPHandler())
OPENER.add_handler(urllib.request.HTTPSHandler())


class LostError(Exception):
    """What became of a request is not known.  `tries` is how often it is worth beginning anew."""

    def __init__(self, reason: str, tries: int) -> None:
        super().__init__(reason)
        self.tries = tries


class Server:
    """A server and the environments held there.  Several threads may ask it at once."""

    timeout = 60.0  # seconds of silence after which an answer is lost
    waits = (1.0, 2.0, 4.0)  # seconds before beginning anew, and so how often
    largest = 10_000_000  # bytes of an answer

    def __init__(self, kind: Kind, url: str) -> None:
        self.kind = kind
        self.url = url
        self.environments: list[int] = []  # to be closed at the end
        self.free: list[int] = []  # those of them in which nobody plays
        weakref.finalize(self, close, url, kind.env_key, self.environments)

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """Return the JSON that the server answers.

        Raises `LostError` if nobody knows what became of the request, and `UserError` for an answer
        that is of no use.
        """
        try:
            status, content = post(f"{self.url}/{path}", body, self.timeout, self.largest)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: no host has such a name
            reason = short(str(error)) or type(error).__name__
            raise LostError(f"gave no answer to /{path}: {reason}", len(self.waits)) from None
        words = short(content[:600].decode(errors="replace"))
        if status >= 500:
            reason = f"answered /{path} with status {status}: {words}"
            raise LostError(reason, len(self.waits))
        if not 200 <= status < 300:
            raise UserError(f"{self.url} answered /{path} with status {status}: {words}")
        if len(content) > self.largest:
            raise UserError(f"{self.url} answered /{path} with more than {self.largest} bytes")
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            problem = f"it answered /{path} without JSON: {words}"
            raise UserError(f"{self.url} is no AgentGym server: {problem}") from None
        if isinstance(answer, dict) and "error" in answer:
            raise LostError(f"answered /{path} with the error: {words}", tries=1)
        return answer

    def read(self, answer: Any, name: str | int | None, *types: type) -> Any:
        """Return a field of an answer, or the answer itself if `name` is None.

        Raises `UserError` if it is not one of `types`, or no finite number.
        """
        value = value_of(answer, name)
        infinite = isinstance(value, float) and not math.isfinite(value)
        if type(value) not in types or infinite:
            what = "number" if name is None else f"field {name!r}"
            problem = f"gave an answer without a usable {what}: {short(json.dumps(answer))}"
            raise UserError(f"{self.url} {problem}")
        return value

    def take(self, *, new: bool) -> int:
        """Return an environment in which nobody plays; unless `new`, it may be a used one.

        Whoever calls this holds the lock in `RESET_LOCKS`.  Raises `UserError` if the server began
        to number its environments anew.
        """
        if self.free and not new:
            return self.free.pop()
        env = self.read(self.ask("create", {}), self.kind.new_env, int)
        if env in self.environments:  # those given before may now be somebody else's
            raise UserError(f"{self.url} was restarted: it gave environment {env} a second time")
        self.environments.append(env)
        return env

    def abandon(self, env: int) -> None:
        """Close an environment whose state is not known."""
        self.environments.remove(env)
        close(self.url, self.kind.env_key, [env])


def value_of(answer: Any, name: str | int | None) -> Any:
    """Return a field of an answer, or the answer itself if `name` is None; None if it has none."""
    if isinstance(answer, str):
        return None  # its letters are no fields
    if name is None:
        return answer
    try:
        return answer[name]
    except (LookupError, TypeError):
        return None


def short(text: str) -> str:
    """Make words of a server fit for a sentence."""
    return " ".join(text.split())[:150]


def post(url: str, body: dict[str, Any], timeout: float, largest: int) -> tuple[int, bytes]:
    """Send `body` as JSON; return the status and the answer, cut one byte above `largest`.

    `timeout` is in seconds.
    """
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers)  # noqa: S310
    with OPENER.open(request, timeout=timeout) as response:
        content = response.read(largest + 1)
        if response.length and len(content) <= largest:
            raise ConnectionError("it broke off")
        return response.status, content


def close(url: str, env_key: str, environments: list[int]) -> None:
    """Close environments, as long as somebody answers.

    A server that cannot close says so, and nothing depends on it.
    """
    timeout = min(5.0, Server.timeout)
    try:
        for env in environments:
            post(f"{url}/close", {env_key: env}, timeout, largest=1000)
    except (OSError, HTTPException, ValueError):
        return


# --- the world


class AgentGym(World):
    """One environment on a server.

    Actions go there as they are; the score is the newest one that the server named, in [0, 1].
    """

    parallel = 8
    thinks = True

    @property
    def manual(self) -> str:
        """What a model that was not taught here is told."""
        return MANUALS[self.name.rpartition(":")[2]]

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.server = server
        self.kind = server.kind
        self.step_limit = self.kind.step_limit
        self._env: int | None = None

    def tasks(self, split: str) -> Sequence[str]:
        """Return the tasks of a split, each named by its number on the server."""
        splits: dict[str, Sequence[int]] = {
            "train": self._training_numbers(),
            "validation": self.kind.validation,
            "test": self.kind.test,
        }
        numbers = splits[split]
        return [str(number) for number in numbers]

    def begin(self, task: str) -> tuple[str, str]:
        """Reset an environment to `task`; return the instruction and the first observation.

        Raises `UserError` for a name that is no task's, and if the server is of no use.
        """
        if not re.fullmatch("0|[1-9][0-9]{0,8}", task) or int(task) >= self.kind.size:
            names = f"0 to {self.kind.size - 1}"
            raise UserError(f"{self.name} has no task {task!r}; tasks are named {names}")
        self._task = int(task)
        self._past: list[tuple[str, str]] = []  # actions and their observations
        answer = self._answer(None)
        instruction = self.kind.instruction
        if self.kind.description:
            description = self.server.read(answer, self.kind.description, str)
            instruction = f"{description}\n{instruction}"
        return instruction, self.server.read(answer, self.kind.start, str)

    def act(self, action: str) -> str:
        """Carry out one action on the server and return the observation.

        Raises `UserError` if it cannot be known what becomes of the action.
        """
        answer = self._answer(action)
        observation = self.server.read(answer, self.kind.observation, str)
        score = self.server.read(answer, self.kind.score, int, float)
        self.score = min(max(score, 0), self.kind.full_score) / self.kind.full_score
        self.done = self.server.read(answer, "done", bool)
        self._past.append((action, observation))
        return observation

    def _training_numbers(self) -> list[int]:
        numbers = set(range(self.kind.size))
        return sorted(numbers.difference(self.kind.validation, self.kind.test))

    def _answer(self, action: str | None) -> Any:
        """Return the answer to `action`, or to the reset if that is None.

        Whenever an answer is lost, all is begun anew in a new environment.
        """
        attempt = 0
        while True:
            try:
                return self._play(action, new=attempt > 0)
            except LostError as loss:
                self._abandon()
                if attempt >= loss.tries:
                    tries = f"tried {attempt + 1} times"
                    raise UserError(f"{self.server.url} {loss} ({tries})") from None
            time.sleep(self.server.waits[attempt])
            attempt += 1

    def _play(self, action: str | None, *, new: bool) -> Any:
        """Reset and play the past again, if need be; then take `action`."""
        if action is None:
            return self._reset(new=new)
        if self._env is None:
            self._reset(new=new)
            self._replay()
        return self._step(action)

    def _reset(self, *, new: bool) -> Any:
        """Reset an environment to the task; unless `new`, it may be a used one."""
        with RESET_LOCKS[self.server.url]:
            if self._env is None:
                self._env = self.server.take(new=new)
                self._release = weakref.finalize(self, self.server.free.append, self._env)
            body = {self.kind.env_key: self._env, self.kind.task_key: self._task}
            return self.server.ask("reset", body | self.kind.more)

    def _replay(self) -> None:
        """Take the actions so far again.  Raises `UserError` if an observation differs."""
        for action, before in self._past:
            answer = self._step(action)
            observation = self.server.read(answer, self.kind.observation, str)
            if observation != before:
                problem = f"played again, task {self._task} did not go as before"
                raise UserError(f"{self.server.url}: {problem}")

    def _step(self, action: str) -> Any:
        return self.server.ask("step", {self.kind.env_key: self._env, "action": action})

    def _abandon(self) -> None:
        """Give up the environment, if there is one."""
        if self._env is not None:
            self._release.detach()
            self.server.abandon(self._env)
            self._env = None


def make_world(option: str) -> Callable[[], World]:
    """Return a maker of copies of the world named by `option`, KIND@URL.

    The server is not asked before the first reset.  Raises `UserError` for anything else, and for a
    URL that is not plainly http or https.
    """
    kind, _, url = option.partition("@")
    if kind not in KINDS:
        form = f"agentgym:KIND@URL with KIND one of {', '.join(KINDS)}"
        raise UserError(f"--env agentgym:{kind}: must be {form}")
    plain = re.fullmatch(r"(?ai)https?://([\w.-]+|\[[\da-f:.]+\])(:(\d{1,5}))?(/[\w./~-]*)?", url)
    if not plain or int(plain[3] or 0) > 65535:
        form = "http://HOST:PORT or https://HOST:PORT"
        raise UserError(f"--env agentgym:{kind}@URL: the URL must be {form}, no more")
    server = Server(KINDS[kind], url.rstrip("/"))
    return functools.partial(AgentGym, f"agentgym:{kind}", server)
