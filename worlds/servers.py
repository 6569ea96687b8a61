"""AgentGym's five servers: their tasks, their grammars, and what their requests are called.

All that differs between them stands here as one `Kind` each, as their code has it and as the real
TextCraft, ScienceWorld and BabyAI servers answered.  `agentgym.py` plays on them.

Splits and step limits are ours, not the paper's.  What a held-out task shares with training: on
TextCraft nothing but recipes, on ScienceWorld the kind of task, on WebShop the products.

Read in order: `Kind`, one constant for each server, `KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """One kind of server.  Tasks below `size` that are not named elsewhere are for training."""

    size: int
    validation: Sequence[int]
    test: Sequence[int]
    step_limit: int
    instruction: str
    unused: Sequence[int] = ()  # tasks of no split, as they are too like a held-out one

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
    actions: str | None = None  # of both: what can be done, where the observation does not tell it

    # What the answers mean.
    full_score: float = 1.0  # the score that counts 1; one below 0 counts 0
    paid_once: bool = False  # a score is paid when it is earned; else the newest one counts
    done_is_won: bool = False  # an episode that is over was won, whatever it paid
    letters_alone: bool = False  # AgentGym's client sends letters, digits and commas, no more
    counts: bool = True  # environments are numbered as they come, from 0 after a restart

    def training(self) -> list[int]:
        """Return the numbers of the training tasks."""
        numbers = set(range(self.size))
        return sorted(numbers.difference(self.validation, self.test, self.unused))

    def sent(self, action: str) -> str:
        """Return an action as the server is to have it."""
        if not self.letters_alone:
            return action
        return " ".join(re.sub("[^A-Za-z0-9, ]+", "", action).split())


def numbers(text: str) -> list[int]:
    """Return the numbers of a list in which `3-5` is 3, 4 and 5."""
    result: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        result += range(int(first), int(last or first) + 1)
    return result


# The server orders its goals by depth, so those held out are spread over all; 100 for testing, as
# in the paper.
TEXTCRAFT = Kind(
    size=544,
    validation=range(42, 544, 10),
    test=range(44, 544, 5),
    step_limit=20,
    instruction="You can: get N item, craft N item using N item, inventory.",
    letters_alone=True,
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
        " disconnect OBJ, read OBJ, examine OBJ, eat OBJ, flush OBJ, wait, wait1, inventory, task."
    ),
    description="task_description",
    score="score",
    full_score=100.0,
)

# The server's goals are shuffled; WebShop itself trains from 1500 on.  200 for testing, as in the
# paper.  Prices are drawn when an environment is made, so a task differs between environments.
# Their numbers are drawn, and past 8,000 of them old ones are handed out again.
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
    counts=False,
)

# The games before the last 200 whose folder, a goal in a room, holds one of these 200 as well.
ALFWORLD_SHARED = numbers(
    "23-24 32-34 53 65-66 72-73 83-84 88 92-93 105 153-154 169 182 196 203 231-232 269-270 "
    "309-310 322-323 344 351-352 395-396 399-400 425 441 485-486 489 508-510 516-517 520-521 "
    "563-564 581 606 619 623-624 640-641 655 678-679 726-727 746-747 750-751 779 799-800 811 "
    "817-818 834-839 842-845 860-861 902-903 935 950 960-961 1004 1021-1022 1025-1026 1029-1030 "
    "1049-1050 1070 1084-1085 1087 1095 1099-1100 1136-1137 1139 1144-1145 1168 1172-1173 "
    "1227-1228 1247 1260 1304 1314 1338-1339 1371 1413-1415 1457-1458 1500 1504-1505 1517 1567 "
    "1570-1571 1574 1606 1620 1677-1679 1689-1690 1700-1701 1707-1708 1737 1783 1788 1796 1811 "
    "1866-1868 1881-1882 1887 1897-1899 1909 1935 1937-1938 1947-1948 1985-1986 1992-1996 2003 "
    "2011-2012 2050-2051 2066 2086 2089 2104-2106 2113 2115 2135 2137 2171 2197-2198 2238 "
    "2266-2267 2298-2299 2315-2316 2339 2349 2360 2372 2378-2379 2390 2393 2403 "
)

# The last 200 games are the server's own test games, and 145 of them stand in a folder with
# training games of the server's.  Those training games are for validation here: so no game that is
# trained on has the goal and the room of a held-out one.
ALFWORLD = Kind(
    size=2620,
    validation=ALFWORLD_SHARED,
    test=range(2420, 2620),
    step_limit=30,
    instruction=(
        "You can: go to PLACE, take THING from PLACE, put THING in/on PLACE, open PLACE,"
        " close PLACE, use LAMP, heat THING with PLACE, cool THING with PLACE,"
        " clean THING with PLACE, slice THING with KNIFE, examine THING, look, inventory."
        " An action must be one of the AVAILABLE ACTIONS."
    ),
    task_key="game",
    more={"world_type": "Text"},
    actions="available_actions",
)

# The tasks from 400 on that begin with the words of a task below: in small rooms many do.
BABYAI_TWINS = numbers(
    "402-404 425 440-442 444 452 472 482-483 512 522 532 545 547 552 554 560-564 587 592 602 612 "
    "632 642 664-665 682 692 707 728 732 745 747 754 762 772 784 792 825 832 837 842-843 847 872 "
    "907 912 922 948 951 962-963 965 972 1002 1025 1032 1067 1072 1082-1083 1098 1105 1107 1112 "
    "1122 1144 1147 1152 1172 1192 1202-1203 1205 1208 1212 1230 1232 1243 1252 1272 1306-1307 "
    "1312 1323 1332 1350 1352 1363 1386-1387 1392 1427 1443 1472 1482 1504 1522-1523 1545 1547 "
    "1566 1572 1584 1592 1603 1624 1632 1642 1667 1682-1683 1692 1707 1712 1722 1726 1744-1745 "
    "1747-1748 1786 1803 1812 1832 1843 1852 1854 1872 1883 1923 1932 1945 1952 1962 1972 1974 "
    "1985 1988 1992 2002 2012 2054 2065 2072 2107 2112 2132 2147 2152 2168 2172 2187 2192 2200 "
    "2202 2227 2242 2265 2267 2312 2323 2348 2363 2403 2425 2427 2430 2442-2443 2472 2486 2507 "
    "2530 2544-2545 2562 2592 2603 2625 2632 2642 2652 2667 2683 2699 2723 2747 2752 2772 2785 "
    "2794 2812 2824 2827 2832 2843 2852 2854 2872 2877 2912 2925 2930 2932 2936 2945 2952 "
    "2962-2963 2992 3002 3025 3042-3043 3052 3082 3085 3097 3105 3122-3123 3132 3144 3147 3152 "
    "3160-3162 3172 3192 3212 3214 3271-3272 3277 3292 3294 3312 3340 3344-3345 3350 3352 3362 "
    "3385 3392 3426 3432 3443 3452 3467 3483 3522 3525 3552 3563 3565 3572 3578 3602-3603 3643 "
    "3652 3707 3712 3723 3745 3748 3762 3802 3832 3872 3892 3912 3945 3962-3963 3972 3974 3987 "
    "3992 "
)

# Number n is level n % 40 with the layout n // 40; no layout is in two splits.  The held-out ones
# also begin with words with which no training task begins: see above.  A win pays less
# than 1, the sooner the more, and the field `score` adds up what every step pays.
BABYAI = Kind(
    size=4000,
    validation=range(200, 400),
    test=range(200),
    unused=BABYAI_TWINS,
    step_limit=20,
    instruction=(
        "You can: turn left, turn right, move forward, go to OBJECT NUMBER, go to goal,"
        " pickup OBJECT NUMBER, drop, go through DOOR NUMBER, toggle and go through DOOR NUMBER,"
        " toggle, check available actions."
    ),
    paid_once=True,
    done_is_won=True,
    letters_alone=True,
)

KINDS = {
    "textcraft": TEXTCRAFT,
    "sciworld": SCIWORLD,
    "webshop": WEBSHOP,
    "alfworld": ALFWORLD,
    "babyai": BABYAI,
}
