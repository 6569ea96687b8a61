"""The environments of AgentGym's HTTP servers: `--env agentgym:KIND@URL`, as in agentgym:webshop@http://localhost:36001.

KIND is textcraft, sciworld, webshop, alfworld or babyai; `KINDS` holds all that differs between them.  Every copy of
the world plays in an environment of its own on the server, which goes to another copy once it is free and is closed
at the end.  So the server holds as many as play at once (`--rollouts`; lower it where they are heavy).  There is no
expert to warm up from: these worlds need `--model`.

An action counts once.  A request whose answer is lost (none in time, a broken connection, a server error) may have
been carried out or may still be, so it is not sent again.  A new environment is made, the task reset there, the
actions so far played again, with the same observations, and then comes the new one.  That is tried a few times; then
a `UserError` tells what happened, as it does at once for an answer that nobody can use.

Left out are the prompts of AgentGym's own clients and the paper's task numbers: instructions, splits and step limits
are ours.  Proxies are not used and redirects are not followed.

Read in order: `KINDS` (the table), `Server` (requests, environments), `AgentGym` (the world), `make_world`.
"""

from __future__ import annotations

import functools
import json
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


@dataclass(frozen=True)
class Kind:
    """What differs between the servers.  All tasks below `size` that are not held out are for training."""

    size: int
    validation: range
    test: range
    step_limit: int
    instruction: str
    key: str = "id"  # what requests call the environment
    created: str | None = "id"  # the field of create's answer that holds it; None: it is the answer
    task: str = "data_idx"  # what a reset calls the number of the task
    more: dict[str, str] = field(default_factory=dict)  # what else a reset has to be told
    description: str | None = None  # the field of its answer that describes the task; None: the observation does
    start: str | int = "observation"  # the field of its answer that holds the observation
    observation: str = "observation"  # the same of a step's answer
    score: str = "reward"  # the field of a step's answer that holds the score
    full: float = 1.0  # the score that counts 1; one below 0 counts 0


KINDS = {
    # The server orders its goals by depth, so those held out are spread over all; 100 for testing, as in the paper.
    "textcraft": Kind(
        size=544, validation=range(42, 544, 10), test=range(44, 544, 5), step_limit=20,
        instruction="You can: get N item, craft N item using N item, inventory.",
    ),
    # The server's tasks stand type by type, so those held out are spread over all; 200 for testing, as in the paper.
    "sciworld": Kind(
        size=4639, validation=range(40, 4639, 46), test=range(39, 4639, 23), step_limit=30,
        instruction="You can: look around, look at OBJ, look in OBJ, go to PLACE, open OBJ, close OBJ, pick up OBJ, "
        "put down OBJ, move OBJ to OBJ, focus on OBJ, activate OBJ, deactivate OBJ, use OBJ on OBJ, pour OBJ into OBJ, "
        "dunk OBJ into OBJ, mix OBJ, connect OBJ to OBJ, disconnect OBJ, read OBJ, eat OBJ, flush OBJ, wait, "
        "inventory, task.",
        description="task_description", score="score", full=100.0,
    ),
    # The server's goals are shuffled; WebShop itself trains from 1500 on.  200 for testing, as in the paper.
    "webshop": Kind(
        size=6910, validation=range(200, 1500), test=range(200), step_limit=15,
        instruction="You can: search[WORDS], click[BUTTON].",
        key="env_idx", created=None, task="session_id", start=0, observation="state",
    ),
    # The last 200 games are the server's own test games.
    "alfworld": Kind(
        size=2620, validation=range(0, 2420, 20), test=range(2420, 2620), step_limit=30,
        instruction="You can: go to PLACE, take THING from PLACE, put THING in/on PLACE, open PLACE, close PLACE, use "
        "THING, heat THING with PLACE, cool THING with PLACE, clean THING with PLACE, examine THING, look, inventory.",
        task="game", more={"world_type": "Text"},
    ),
    # Number n is level n % 40 with the layout n // 40; no layout is in two splits.
    "babyai": Kind(
        size=4000, validation=range(200, 400), test=range(200), step_limit=20,
        instruction="You can: turn left, turn right, move forward, go to OBJECT NUMBER, pick up OBJECT NUMBER, go "
        "through DOOR NUMBER, toggle and go through DOOR NUMBER, toggle.",
        score="score",
    ),
}

RESETS: dict[str, threading.Lock] = defaultdict(threading.Lock)  # by URL: a server's resets share a random generator
OPENER = urllib.request.OpenerDirector()  # with these handlers alone any status is an answer, a redirect too
OPENER.add_handler(urllib.request.HTTPHandler())
OPENER.add_handler(urllib.request.HTTPSHandler())


class LostError(Exception):
    """What became of a request is not known.  `tries` is how often it is worth beginning anew."""

    def __init__(self, reason: str, tries: int) -> None:
        super().__init__(reason)
        self.tries = tries


class Server:
    """A server and the environments held there.  It may be asked from several threads at once."""

    timeout = 60.0  # seconds of silence after which an answer is lost
    waits = (1.0, 2.0, 4.0)  # seconds before beginning anew, and so how often
    largest = 10_000_000  # bytes of an answer

    def __init__(self, kind: Kind, url: str) -> None:
        self.kind, self.url = kind, url
        self.held: list[int] = []  # environments to be closed at the end
        self.free: list[int] = []  # those of them in which nobody plays
        weakref.finalize(self, close, url, kind.key, self.held)

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON that the server answers.  Raises `LostError`, and `UserError` for an answer that is of no use."""
        try:
            status, text = post(f"{self.url}/{path}", body, self.timeout, self.largest)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: what cannot be a host's name
            reason = short(str(error)) or type(error).__name__
            raise LostError(f"gave no answer to /{path}: {reason}", len(self.waits)) from None
        words = short(text[:600].decode(errors="replace"))
        if status >= 500:
            raise LostError(f"answered /{path} with status {status}: {words}", len(self.waits))
        if not 200 <= status < 300:
            raise UserError(f"{self.url} answered /{path} with status {status}: {words}")
        if len(text) > self.largest:
            raise UserError(f"{self.url} answered /{path} with more than {self.largest} bytes")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            raise UserError(f"{self.url} is no AgentGym server: it answered /{path} without JSON: {words}") from None
        if isinstance(answer, dict) and "error" in answer:
            raise LostError(f"answered /{path} with the error: {words}", 1)
        return answer

    def read(self, answer: Any, name: str | int | None, *types: type) -> Any:
        """A field of an answer, or with None the answer itself.  Raises `UserError` if it is not one of `types`."""
        try:
            value = None if isinstance(answer, str) else answer if name is None else answer[name]
        except (LookupError, TypeError):
            value = None
        if type(value) not in types or value != value or value in (float("inf"), -float("inf")):
            what = "number" if name is None else f"field {name!r}"
            raise UserError(f"{self.url} gave an answer without a usable {what}: {short(json.dumps(answer))}")
        return value

    def take(self, new: bool) -> int:
        """An environment in which nobody plays, maybe a used one; whoever calls this holds the lock in `RESETS`."""
        if self.free and not new:
            return self.free.pop()
        env = self.read(self.ask("create", {}), self.kind.created, int)
        if env in self.held:  # numbers begin anew, so those given before may now be somebody else's
            raise UserError(f"{self.url} was restarted: it gave environment {env} a second time")
        self.held.append(env)
        return env

    def abandon(self, env: int) -> None:
        """Close an environment whose state is not known."""
        self.held.remove(env)
        close(self.url, self.kind.key, [env])


def short(text: str) -> str:
    """Words of a server, fit for a sentence."""
    return " ".join(text.split())[:150]


def post(url: str, body: dict[str, Any], timeout: float, largest: int) -> tuple[int, bytes]:
    """Send `body` as JSON; the status and the answer, cut one byte above `largest`.  `timeout` is in seconds."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with OPENER.open(request, timeout=timeout) as response:
        text = response.read(largest + 1)
        if response.length and len(text) <= largest:
            raise ConnectionError("it broke off")
        return response.status, text


def close(url: str, key: str, environments: list[int]) -> None:
    """Close environments, as long as somebody answers; a server that cannot says so, and nothing depends on it."""
    try:
        for env in environments:
            post(f"{url}/close", {key: env}, timeout=min(5.0, Server.timeout), largest=1000)
    except (OSError, HTTPException, ValueError):
        return


class AgentGym(World):
    """One environment on a server.  Actions go there as they are; the score is the newest one told, in [0, 1]."""

    parallel = 8

    def __init__(self, name: str, server: Server) -> None:
        self.name, self.server, self.kind = name, server, server.kind
        self.step_limit = self.kind.step_limit
        self._env: int | None = None

    def tasks(self, split: str) -> Sequence[str]:
        """A task is named by its number on the server."""
        splits = {"validation": self.kind.validation, "test": self.kind.test}
        splits["train"] = sorted(set(range(self.kind.size)).difference(*splits.values()))
        return [str(number) for number in splits[split]]

    def begin(self, task: str) -> tuple[str, str]:
        """Raises `UserError` for a name that is not a task's, and if the server is of no use."""
        if not re.fullmatch("0|[1-9][0-9]{0,8}", task) or int(task) >= self.kind.size:
            raise UserError(f"{self.name} has no task {task!r}; tasks are named 0 to {self.kind.size - 1}")
        self._task, self._past = int(task), []
        answer = self._answer(None)
        described = [self.server.read(answer, self.kind.description, str)] if self.kind.description else []
        return "\n".join([*described, self.kind.instruction]), self.server.read(answer, self.kind.start, str)

    def act(self, action: str) -> str:
        """Raises `UserError` if it cannot be found out what becomes of the action."""
        answer = self._answer(action)
        score = self.server.read(answer, self.kind.score, int, float)
        self.score = min(max(score, 0), self.kind.full) / self.kind.full
        self.done = self.server.read(answer, "done", bool)
        self._past.append((action, self.server.read(answer, self.kind.observation, str)))
        return self._past[-1][1]

    def _answer(self, action: str | None) -> Any:
        """The answer to `action`, or to the reset if that is None; whenever one is lost, all is begun anew."""
        attempt = 0
        while True:
            try:
                return self._play(action, new=attempt > 0)
            except LostError as lost:
                if self._env is not None:
                    self._release.detach()
                    self.server.abandon(self._env)
                    self._env = None
                if attempt >= lost.tries:
                    raise UserError(f"{self.server.url} {lost} (tried {attempt + 1} times)") from None
            time.sleep(self.server.waits[attempt])
            attempt += 1

    def _play(self, action: str | None, new: bool) -> Any:
        """Reset and play the past again, if need be; then take `action`.  `new`: not in a used environment."""
        ahead = [] if action is None else [(action, None)]
        if action is None or self._env is None:
            ahead = self._past + ahead
            with RESETS[self.server.url]:
                if self._env is None:
                    self._env = self.server.take(new)
                    self._release = weakref.finalize(self, self.server.free.append, self._env)
                body = {self.kind.key: self._env, self.kind.task: self._task, **self.kind.more}
                answer = self.server.ask("reset", body)
        for taken, seen in ahead:
            answer = self.server.ask("step", {self.kind.key: self._env, "action": taken})
            if seen not in (None, self.server.read(answer, self.kind.observation, str)):
                raise UserError(f"{self.server.url}: played again, task {self._task} did not go as before")
        return answer


def make_world(option: str) -> Callable[[], World]:
    """A maker of copies of the world named by `option`, KIND@URL; the server is not asked before the first reset.

    Raises `UserError` for anything else, and for a URL that is not plainly http or https.
    """
    kind, _, url = option.partition("@")
    if kind not in KINDS:
        raise UserError(f"--env agentgym:{kind}: must be agentgym:KIND@URL with KIND one of {', '.join(KINDS)}")
    plain = re.fullmatch(r"(?ai)https?://([\w.-]+|\[[\da-f:.]+\])(:(\d{1,5}))?(/[\w./~-]*)?", url)
    if not plain or int(plain[3] or 0) > 65535:
        raise UserError(f"--env agentgym:{kind}@URL: the URL must be http://HOST:PORT or https://HOST:PORT, no more")
    return functools.partial(AgentGym, f"agentgym:{kind}", Server(KINDS[kind], url.rstrip("/")))
