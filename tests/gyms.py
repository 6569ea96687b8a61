"""AgentGym's servers, from the other side: toys that answer as the real ones do, and worse.

Their environments are corridors: `right` leads from place 0 to place 3 and success, `left` of place
0 is a pit.  Each keeps what was done in it since its last reset, so a test can see that every
action counted once.  What was learned of the real servers:

- a killed server numbers its environments from 0 again, and TextCraft tells its tasks in another
  order from then on;
- ScienceWorld tells a task in another order at each reset;
- WebShop draws a price when an environment is made, numbers environments at random, hands out old
  ones when it has too many, and answers with status 500 where others say `{"error": ...}`;
- BabyAI pays less than 1 for a win, pays again for every step after one, and adds all of it up;
- ALFWorld and WebShop cannot close; ALFWorld lists what can be done in a field of its own;
- `break` is an action that raises an error after it has moved the agent on.
"""

import contextlib
import itertools
import json
import random
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TIMEOUT = 0.4
# kind -> what a request must hold besides the action: the key of the environment, then what a
# reset names
FIELDS = {
    "textcraft": ("id", {"data_idx"}),
    "sciworld": ("id", {"data_idx"}),
    "babyai": ("id", {"data_idx"}),
    "alfworld": ("id", {"game", "world_type"}),
    "webshop": ("env_idx", {"session_id"}),
}


class Environment:
    """A corridor, and what was done in it since the last reset."""

    def __init__(self, kind, price):
        self.kind, self.price = kind, price
        self.closed = False
        self.begin(None)

    def begin(self, task):
        self.task, self.place, self.log, self.total, self.steps = task, 0, [], 0, 0

    @property
    def won(self):
        return self.place == 3

    @property
    def done(self):
        return self.won or (self.place < 0 and self.kind != "babyai")

    def walk(self, action):
        """Take an action; raises for `break`, which moves on before that."""
        self.log.append(action)
        self.steps += 1
        if action == "break":
            self.place += 1
            raise ValueError("the wall broke")
        self.place = min(self.place + {"left": -1, "right": 1}.get(action, 0), 3)


class Gym(ThreadingHTTPServer):
    """A server of one kind.

    `faults[path]` holds what goes wrong with the next requests, None for nothing.  `orders` says
    whether it tells tasks in other orders as its kind does, `room` how many environments it makes.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, kind, orders=False, room=8000):
        super().__init__(("127.0.0.1", 0), Answerer)
        self.kind, self.orders, self.room = kind, orders, room
        self.environments, self.every, self.requests, self.faults = {}, [], [], {}
        self.busy, self.overlaps, self.first, self.gate = 0, 0, 7, threading.Lock()
        self.life, self.made, self.most, self.down = 0, 0, 0, False
        self.random = random.Random(0)
        self.ring = itertools.cycle(())
        self.lives = []  # of environments, a reset each: its opening and what was done then
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass

    def restart(self):
        """Be killed and start again, knowing nothing."""
        with self.gate:
            self.life += 1
            self.made = self.first = 0
            self.environments.clear()

    def create(self):
        if self.kind == "webshop" and len(self.environments) >= self.room:
            return next(self.ring)  # an old one, whoever plays in it
        number = self.first + self.made
        if self.kind == "webshop":
            number = 1000 + self.random.randrange(10**6)
        price = 100 * self.life + self.made
        self.made += 1
        self.environments[number] = Environment(self.kind, price)
        self.every.append(self.environments[number])
        self.ring = itertools.cycle(list(self.environments))
        self.most = max(self.most, sum(not env.closed for env in self.environments.values()))
        return number

    def opening(self, env):
        """What a reset tells of a task."""
        words = [f"task {env.task}, place 0."]
        if self.kind == "webshop":
            words.append(f"price below {env.price}.")
        if self.orders and self.kind == "textcraft":
            words.append(f"order {self.life}.")
        if self.orders and self.kind == "sciworld":
            words += self.random.sample(["a bed.", "a cup."], 2)
        return " ".join(words)

    def refuse(self, words):
        """Answer with an error as this kind does."""
        if self.kind == "webshop":
            return 500, "Internal Server Error"
        return 200, {"error": words}

    def act(self, path, body):
        """Do what is asked: (status, answer)."""
        key, told = FIELDS[self.kind]
        if path == "close" and self.kind in ("webshop", "alfworld"):
            return 404, {"detail": "Not Found"}
        wanted = {
            "create": set(),
            "step": {key, "action"},
            "reset": {key} | told,
            "close": {key},
        }.get(path)
        types = {"action": str, "world_type": str}
        if (
            wanted is None
            or set(body) != wanted
            or any(type(v) is not types.get(k, int) for k, v in body.items())
        ):
            return 422, {"detail": [{"type": "missing", "loc": ["body"]}]}
        if path == "create":
            number = self.create()
            return 200, number if self.kind == "webshop" else {"id": number}
        env = self.environments.get(body[key])
        over = env and path == "step" and env.done and self.kind not in ("textcraft", "webshop")
        if env is None or env.closed or over:
            return self.refuse(f"The id {body[key]} is not valid.")
        if path == "close":
            env.closed = True
            return 200, True
        extra = {"available_actions": ["left", "right"]} if self.kind == "alfworld" else {}
        if path == "reset":
            if body.get("world_type", "Text") != "Text":
                return 200, {"error": "no such world_type"}
            env.begin(next(body[name] for name in told if name != "world_type"))
            opening = self.opening(env)
            self.lives.append((opening, env.log))
            if self.kind == "webshop":
                return 200, [opening, None]
            beginning = {"id": body[key], "observation": opening, "reward": 0}
            return 200, beginning | {"task_description": "walk.", "done": False} | extra
        try:
            env.walk(body["action"])
        except ValueError as error:
            return self.refuse(str(error))
        answer = {"reward": int(env.won), "score": None, "done": env.done} | extra
        if self.kind == "sciworld":
            answer["score"] = -100 if env.place < 0 else 33 * env.place + env.won
        if self.kind == "babyai":
            answer["reward"] = env.won * (1 - env.steps / 100)
            env.total += answer["reward"]
            answer["score"] = env.total
        seen = f"place {env.place}."
        return 200, answer | {"state" if self.kind == "webshop" else "observation": seen}


class Answerer(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.reply(200, b"<html>a page</html>")

    def do_POST(self):
        gym, path = self.server, self.path.strip("/")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if gym.down:
            self.connection.close()
            self.close_connection = True
            return
        with gym.gate:
            gym.requests.append((path, body))
            gym.busy += path in ("create", "reset")
            gym.overlaps += gym.busy > 1 and path in ("create", "reset")
            fault = (gym.faults.get(path) or [None]).pop(0)
        if path in ("create", "reset"):
            time.sleep(0.003)
        if isinstance(fault, tuple):  # status and bytes, and nothing done
            answer = fault
        elif fault == "late":  # acts when nobody listens any more
            time.sleep(2 * TIMEOUT)
            answer = None
        else:
            answer = None
        with gym.gate:
            gym.busy -= path in ("create", "reset")
            if answer is None:
                status, value = gym.act(path, body)
                answer = status, json.dumps(value).encode()
        if fault == "slow":
            time.sleep(2 * TIMEOUT)
        if fault == "500 after":
            answer = 500, b"crashed"
        if fault == "null":
            answer = 200, answer[1].replace(b"{", b'{"error": null, ', 1)
        if fault == "other":
            answer = 200, answer[1].replace(b"place", b"palace")
        if fault in ("reset", "drop"):
            if fault == "reset":
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            self.close_connection = True
            if fault == "drop":
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self.connection.close()
            return
        with contextlib.suppress(OSError):
            self.reply(*answer, short=fault == "short")

    def reply(self, status, text, short=False):
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", text.decode())
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text[: len(text) // 2] if short else text)


@contextlib.contextmanager
def serving():
    """A function that starts servers, which end with the block."""
    running = []

    def start(kind, **options):
        gym = Gym(kind, **options)
        running.append(gym)
        polling = {"poll_interval": 0.01}
        threading.Thread(target=gym.serve_forever, kwargs=polling, daemon=True).start()
        return gym

    yield start
    for gym in running:
        gym.shutdown()
        gym.server_close()


def take(world, task, actions):
    """The observations and scores of one episode."""
    seen = [world.reset(options={"task": task})[0]]
    for action in actions:
        observation, _, _, _, info = world.step(action)
        seen.append((observation, info["score"]))
    return seen


def played_in(gym, world):
    """What was done in the environment the world ends up in."""
    return gym.environments[world._env].log
