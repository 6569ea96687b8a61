"""The environments of AgentGym's HTTP servers: `--env agentgym:KIND@URL`.

KIND is textcraft, sciworld, webshop, alfworld or babyai, as in
agentgym:webshop@http://localhost:36001; `servers.KINDS` holds all that differs between them.  Every
copy of the world plays in an environment of its own on the server, which goes to another copy once
it is free and is closed at the end.  So the server holds as many as play at once (`--rollouts`;
lower it where they are heavy).  There is no expert to warm up from: these worlds need `--model`.

An action counts once, whatever happens to its request:

- No answer (none in time, a broken connection, a gateway's error): it may have been carried out, or
  may still be.  In a new environment the task is reset, the actions so far are played again, and
  then comes the new one.  That is tried for minutes, so that a server may be restarted meanwhile.
- Status 500, or `{"error": ...}`: the action has been answered.  It is tried once more from the
  beginning in the same environment; the same again is what the action leads to, an observation.
- The server was restarted: it gives its numbers anew, so all that it gave before are void.

Played again, a task may go another way: ScienceWorld lists things in another order, TextCraft shows
other recipes after a restart, WebShop draws other prices in another environment.  Nothing is mixed
then: `EpisodeLostError` says that the episode has to be begun anew, and `begun_anew` counts it.

The prompts of AgentGym's own clients and the paper's task numbers are left out.  Proxies are not
used and redirects are not followed.

Read in order: `Gate`, `Pool` (environments, and how they are closed), `Server` (requests),
`AgentGym` (the world), `make_world`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
import signal
import sys
import threading
import time
import urllib.request
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from types import FrameType
from typing import Any

from envs import EpisodeLostError, UserError, World
from worlds.manuals import MANUALS
from worlds.servers import KINDS, Kind

# --- environments on a server

# With these handlers alone any status is an answer, a redirect too.
OPENER = urllib.request.OpenerDirector()
OPENER.add_handler(urllib.request.HTTPHandler())
OPENER.add_handler(urllib.request.HTTPSHandler())


class Gate:
    """Requests pass together, but none passes while an environment is made.

    So no request to a number that a restart made void can reach the new environment of that number.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside = 0

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Pass with others."""
        with self.changed:
            self.inside += 1
        try:
            yield
        finally:
            with self.changed:
                self.inside -= 1
                self.changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until all have passed, and let nobody in."""
        with self.changed:
            self.changed.wait_for(lambda: self.inside == 0)
            yield


@dataclass(eq=False)
class Pool:
    """The environments that a server holds for us."""

    url: str
    env_key: str
    held: list[int] = field(default_factory=list)  # to be closed at the end
    free: list[int] = field(default_factory=list)  # those of them in which nobody plays
    age: int = 0  # how often the server was seen to be restarted
    highest: int = -1  # number since then
    closes: bool = True  # whether the server can close
    ended: bool = False  # whether none is to be made any more
    # Reentrant, since a copy that is collected releases its environment at any moment.
    lock: threading.RLock = field(default_factory=threading.RLock)

    def add(self, env: int) -> None:
        """Hold one more environment."""
        with self.lock:
            self.highest = max(env, self.highest)
            self.held.append(env)

    def void(self) -> None:
        """Forget all environments, as the server was restarted."""
        with self.lock:
            self.age += 1
            self.highest = -1
            self.held.clear()
            self.free.clear()

    def release(self, env: int, age: int) -> None:
        """Take back an environment in which nobody plays any more."""
        with self.lock:
            if age == self.age:
                self.free.append(env)

    def give_up(self, env: int, age: int) -> None:
        """Close an environment whose state is not known."""
        with self.lock:
            if age != self.age:
                return
            self.held.remove(env)
        self.close([env])

    def end(self) -> None:
        """Close every environment."""
        with self.lock:
            self.ended = True
            environments = list(self.held)
            self.held.clear()
            self.free.clear()
        self.close(environments)

    def close(self, environments: Sequence[int]) -> None:
        """Close environments, as long as somebody answers.

        A server that has no way to close is asked once, and a line says what that means.
        """
        timeout = min(5.0, Server.timeout)
        for env in environments:
            if not self.closes:
                return
            try:
                status, _ = post(f"{self.url}/close", {self.env_key: env}, timeout, largest=1000)
            except (ConnectionRefusedError, TimeoutError):
                return
            except (OSError, HTTPException, ValueError):
                continue
            if status in (404, 405):
                self.closes = False
                remedy = "restart it now and then"
                print(
                    f"{self.url} cannot close environments: they stay there; {remedy}",
                    file=sys.stderr,
                )


# --- requests


class LostError(Exception):
    """What became of a request is not known.  `tries` is how often it is worth beginning anew."""

    def __init__(self, reason: str, tries: int) -> None:
        super().__init__(reason)
        self.tries = tries


class RefusedError(LostError):
    """A request was answered with an error; `words` are the server's."""

    def __init__(self, reason: str, tries: int, words: str) -> None:
        super().__init__(reason, tries)
        self.words = words


class Server:
    """A server and the environments held there.  Several threads may ask it at once."""

    timeout = 300.0  # seconds of silence after which an answer is lost, as in AgentGym's clients
    waits = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0)  # before beginning anew, and so how often
    largest = 10_000_000  # bytes of an answer

    def __init__(self, kind: Kind, url: str) -> None:
        self.kind = kind
        self.url = url
        self.known = False  # whether it has ever answered
        self.begun_anew = 0  # episodes that could not be played again as they had gone
        self.pool = Pool(url, kind.env_key)
        self.gate = Gate()
        self.resetting = threading.Lock()  # resets of a server share a random generator
        weakref.finalize(self, self.pool.end)
        POOLS.add(self.pool)
        end_in_order()

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """Return the JSON that the server answers.

        Raises `LostError` if nobody knows what became of the request, `RefusedError` for an error
        that the server answers, and `UserError` for an answer that is of no use.
        """
        tries = len(self.waits) if self.known else min(3, len(self.waits))
        try:
            status, content = post(f"{self.url}/{path}", body, self.timeout, self.largest)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: no host has such a name
            reason = short(str(error)) or type(error).__name__
            raise LostError(f"gave no answer to /{path}: {reason}", tries) from None
        self.known = True
        words = short(content[:600].decode(errors="replace"))
        if status >= 500:
            reason = f"answered /{path} with status {status}: {words}"
            if status in (502, 503, 504):  # of a gateway, or of a server that is not up yet
                raise LostError(reason, tries)
            raise RefusedError(reason, tries, words)
        if not 200 <= status < 300:
            raise UserError(f"{self.url} answered /{path} with status {status}: {words}")
        if len(content) > self.largest:
            raise UserError(f"{self.url} answered /{path} with more than {self.largest} bytes")
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            problem = f"it answered /{path} without JSON: {words}"
            raise UserError(f"{self.url} is no AgentGym server: {problem}") from None
        if isinstance(answer, dict) and answer.get("error") is not None:
            reason = f"answered /{path} with the error: {words}"
            raise RefusedError(reason, 1, short(str(answer["error"])))
        return answer

    def count_anew(self) -> None:
        """Count an episode that has to be begun anew."""
        with self.pool.lock:
            self.begun_anew += 1

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

    def text(self, answer: Any, name: str | int) -> str:
        """Return the observation in an answer, with what can be done where a field holds that."""
        observation = self.read(answer, name, str)
        actions = self.kind.actions and value_of(answer, self.kind.actions)
        if not actions:
            return observation
        listed = self.read(answer, self.kind.actions, list)
        return f"{observation}\nAVAILABLE ACTIONS: {','.join(map(str, listed))}"

    def take(self, *, new: bool) -> tuple[int, int]:
        """Return an environment in which nobody plays, and the pool's age.

        Unless `new`, it may be a used one.  Whoever calls this holds `resetting`.  Raises
        `UserError` if the server hands out nothing but what is in use already.
        """
        pool = self.pool
        if pool.free and not new:
            return pool.free.pop(), pool.age
        with self.gate.alone():
            for _ in range(len(pool.held) + 1):
                if pool.ended:
                    raise UserError(f"{self.url} gets no new environment while all are closed")
                env = self.read(self.ask("create", {}), self.kind.new_env, int)
                if self.kind.counts and env <= pool.highest:
                    pool.void()
                if env not in pool.held:
                    pool.add(env)
                    return env, pool.age
        problem = f"has no environment left beside the {len(pool.held)} in use"
        raise UserError(f"{self.url} {problem}; lower --rollouts, or restart it")


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


POOLS: weakref.WeakSet[Pool] = weakref.WeakSet()
SERVERS: weakref.WeakValueDictionary[tuple[str, str], Server] = weakref.WeakValueDictionary()


def end_in_order() -> None:
    """Let a signal that ends Python at once end it in order, so that environments are closed.

    That is done where nobody has said otherwise; threads cannot say it.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)


def leave(number: int, _frame: FrameType | None) -> None:
    """Close all environments, then leave Python, which may wait for requests that are under way."""
    for pool in list(POOLS):
        pool.end()
    sys.exit(128 + number)


# --- the world


class AgentGym(World):
    """One environment on a server.

    Actions go there as AgentGym's own client sends them; the score is the newest one that the
    server named, in [0, 1], or the best one where a win is paid once.
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
        self._age = 0  # of the pool, when the environment was taken
        self._ready = False  # whether the environment stands where the episode does

    @property
    def begun_anew(self) -> int:
        """How many episodes of all copies did not go their way a second time."""
        return self.server.begun_anew

    def tasks(self, split: str) -> Sequence[str]:
        """Return the tasks of a split, each named by its number on the server."""
        splits: dict[str, Sequence[int]] = {
            "train": self.kind.training(),
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
        self._opening: tuple[str, str] | None = None
        self._past: list[tuple[str, str | None]] = []  # actions and observations; None: an error
        self._ready = False
        self._answer(None)
        return self._opening

    def act(self, action: str) -> str:
        """Carry out one action on the server and return the observation.

        Raises `EpisodeLostError` if the server lost the episode and it goes another way the second
        time, and `UserError` if it cannot be known what becomes of the action.
        """
        sent = self.kind.sent(action)
        try:
            answer = self._answer(sent)
        except RefusedError as error:
            self._past.append((sent, None))
            return f"The environment answered with an error: {error.words}"
        observation = self.server.text(answer, self.kind.observation)
        score = self.server.read(answer, self.kind.score, int, float)
        done = self.server.read(answer, "done", bool)
        paid = min(max(score, 0), self.kind.full_score) / self.kind.full_score
        self.score = max(paid, self.score) if self.kind.paid_once else paid
        self.done = done
        if self.kind.done_is_won:
            self.won = done
        self._past.append((sent, observation))
        return observation

    def _answer(self, action: str | None) -> Any:
        """Return the answer to `action`; nothing for None, which is the reset alone.

        Raises `RefusedError` for an action that the server answers with an error twice.
        """
        refused = False
        attempt = 0
        while True:
            try:
                self._stand(new=attempt > 0)
                return None if action is None else self._send("step", {"action": action})
            except LostError as loss:
                if self._ready and isinstance(loss, RefusedError):  # the action was refused
                    if refused:
                        raise
                    refused = True
                    self._ready = False
                    continue
                self._abandon()
                if attempt >= loss.tries:
                    tries = f"tried {attempt + 1} times"
                    raise UserError(f"{self.server.url} {loss} ({tries})") from None
            time.sleep(self.server.waits[attempt])
            attempt += 1

    def _stand(self, *, new: bool) -> None:
        """Bring the environment to where the episode stands, if it is not there.

        Raises `EpisodeLostError` if the task or an action does not begin or go as before.
        """
        if self._ready:
            return
        opening = self._reset(new=new)
        if self._opening is None:
            self._opening = opening
        same = opening == self._opening
        for action, before in self._past:
            same = same and self._again(action, before)
        if not same:
            self.server.count_anew()
            problem = f"played again, task {self._task} did not go as before"
            raise EpisodeLostError(f"{self.server.url}: {problem}")
        self._ready = True

    def _reset(self, *, new: bool) -> tuple[str, str]:
        """Reset an environment to the task; unless `new`, it may be a used one."""
        with self.server.resetting:
            if self._env is None:
                self._env, self._age = self.server.take(new=new)
                release = self.server.pool.release
                self._release = weakref.finalize(self, release, self._env, self._age)
            answer = self._send("reset", {self.kind.task_key: self._task} | self.kind.more)
        instruction = self.kind.instruction
        if self.kind.description:
            description = self.server.read(answer, self.kind.description, str)
            instruction = f"{description}\n{instruction}"
        return instruction, self.server.text(answer, self.kind.start)

    def _again(self, action: str, before: str | None) -> bool:
        """Take an action of the past again; return whether it went as before."""
        try:
            answer = self._send("step", {"action": action})
        except RefusedError as refusal:
            if before is not None:  # the environment may be gone
                raise LostError(str(refusal), len(self.server.waits)) from None
            return True
        return self.server.text(answer, self.kind.observation) == before

    def _send(self, path: str, body: dict[str, Any]) -> Any:
        """Return the answer of the environment to a request."""
        with self.server.gate.together():
            if self._age != self.server.pool.age:
                raise LostError("was restarted", len(self.server.waits))
            return self.server.ask(path, {self.kind.env_key: self._env} | body)

    def _abandon(self) -> None:
        """Give up the environment, if there is one."""
        self._ready = False
        if self._env is not None:
            self._release.detach()
            self.server.pool.give_up(self._env, self._age)
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
    url = url.rstrip("/")
    server = SERVERS.get((kind, url)) or Server(KINDS[kind], url)
    SERVERS[kind, url] = server  # one for all, since a restart concerns all
    return functools.partial(AgentGym, f"agentgym:{kind}", server)
