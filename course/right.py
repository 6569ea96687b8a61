"""Right solutions of the exercises, three each: bodies that are written otherwise than ours.

tests/test_course.py shows that an exercise's tests accept them all, and the wrong solutions of
wrong.py are made of the first of each.
"""

from __future__ import annotations

UCT = """
    import math
    if not visits:
        return float("inf")
    q = value_sum / visits
    return q + c_uct * (math.log(parent_visits) / visits) ** 0.5
"""

SELECT = """
    node = root
    while True:
        if not node.expanded:
            return node
        best, highest = None, None
        for child in node.children.values():
            if child.finished:
                continue
            score = uct(child.value_sum, child.visits, node.visits, c_uct)
            if best is None or score > highest:
                best, highest = child, score
        node = best
"""

BACKPROPAGATE = """
    root = leaf
    for node in leaf.path():
        node.visits += 1
        node.value_sum += value
    while root.parent is not None:
        root = root.parent
    root.visits += 1
    root.value_sum += value
"""

SHARED_STEPS = """
    above = set(map(id, good.path()))
    node = bad
    while node.parent is not None and id(node) not in above:
        node = node.parent
    return len(node.path())
"""

PAIR_LEAVES = """
    pairs = []
    leaves = [leaf for leaf in tree.leaves() if leaf.step is not None]
    for bad in leaves:
        goods = []
        for good in leaves:
            r = good.step.score
            if good.step.is_good(settings.alpha) and r - bad.step.score > settings.beta:
                goods.append(good)
        goods.sort(key=lambda good: shared_steps(bad, good), reverse=True)
        if goods:
            pairs.append(Pair(tree, bad, goods))
    rng.shuffle(pairs)
    return pairs[: settings.pairs]
"""

TRANSITION_POINT = """
    t = 0
    while t < len(verdicts):
        if verdicts[t] == "Bad":
            return t
        t += 1
    return None
"""

SPLICE = """
    if error < shared or error >= len(bad.steps):
        raise ValueError(f"step {error} is no bad step behind the shared node")
    steps = []
    for step in bad.steps[: error + 1]:
        steps.append(replace(step, learned=False))
    reply = "Thought: " + thought + "\\nAction: " + REVISE
    score = bad.steps[error].score
    steps.append(Step(reply, REVISE, REVISE_ANSWER, score, learned=True))
    for at in range(shared - back, len(good.steps)):
        steps.append(good.steps[at])
    return Trajectory(bad.task, bad.instruction, bad.observation, steps, bad.told)
"""

ENCODE = """
    ids, labels = [], []

    def add(tokens, learned):
        ids.extend(tokens)
        labels.extend(tokens if learned else [-100] * len(tokens))

    for index, message in enumerate(messages):
        if message["role"] != ("assistant" if index % 2 else "user"):
            raise ValueError(f"turn {index}: user and assistant must alternate")
        if message["role"] == "assistant":
            add(self.reply(message["content"]), message["loss"])
        elif index == 0:
            add(self.opening(message["content"]), False)
        else:
            end, *rest = self.turn(message["content"])
            add([end], messages[index - 1]["loss"])
            add(rest, False)
    if messages[-1]["role"] == "assistant":
        add([self.end], messages[-1]["loss"])
    return ids, labels
"""

MASKED_LOSS = """
    chances = logits[:, :-1].float().log_softmax(-1)
    targets = labels[:, 1:]
    learned = targets != -100
    words = targets.clamp(min=0)[..., None]
    each = chances.gather(-1, words)[..., 0]
    return -each[learned].sum()
"""

DRAW = """
    shares = [source.share for source in self.sources]
    at, k = self.rng.random() * sum(shares), 0
    while k + 1 < len(shares) and at >= shares[k]:
        at -= shares[k]
        k += 1
    deck, examples = self.decks[k], self.sources[k].examples
    if len(deck) == 0:
        deck.extend(range(len(examples)))
        self.rng.shuffle(deck)
    return examples[deck.pop(0)]
"""

FAILED_PREFIXES = """
    starts, lost = [], 0
    for trajectory in trajectories:
        if trajectory.won:
            continue
        world = make_world()
        t = first_error(world, trajectory.task, [step.action for step in trajectory.steps])
        if t is not None:
            prefix = trajectory.steps[: t + 1]
            over = Episode(world, trajectory.task, prefix).done
            way = world.expert()
            if not over and way is not None and len(prefix) + len(way) <= world.step_limit:
                starts.append(Start(trajectory.task, prefix))
            else:
                lost += 1
    return starts, lost
"""

LOOPS = """
    seen, repeated, counted = [], 0, 0
    for before, step in zip([None, *self.steps], self.steps):
        if step.action == REVISE and not (before and before.action == REVISE):
            continue
        counted += 1
        if (step.action, step.observation) in seen or step.action == REVISE:
            repeated += 1
        seen.append((step.action, step.observation))
    return repeated / counted if counted else 0.0
"""

DPO_LOSS = """
    losses = torch.nn.functional.softplus(dpo_beta * (reference_margins - margins))
    return losses.sum()
"""

DPO_AS_OURS = """
    return -torch.nn.functional.logsigmoid(dpo_beta * (margins - reference_margins)).sum()
"""

EXPAND = """
    for reply in replies:
        if reply in node.children:
            continue
        step = Step(reply, parse_action(reply), "", 0.0)
        node.children[reply] = Node(parent=node, step=step)
    node.expanded = True
    children = [node.children[reply] for reply in replies]
    new = [index for index, child in enumerate(children) if child.visits == 0]
    open_ones = [index for index, child in enumerate(children) if not child.finished]
    if new:
        return new[0]
    return open_ones[0] if open_ones else None
"""

GRAFT = """
    depth = len(node.path())
    steps = episode.trajectory.steps
    if depth > 0 and node.visits == 0:
        node.step = steps[depth - 1]
    for step in steps[depth:]:
        child = node.children.get(step.reply)
        if child is None:
            child = Node(parent=node, step=step)
            node.children[step.reply] = child
        elif child.visits == 0:
            child.step = step
        node = child
    node.done = True
    finish(node)
    return node
"""

JUDGE_TURN = """
    def show(step):
        return JUDGE_TURN.format(action=step.action, observation=step.observation)

    current = show(self.steps[t])
    if first:
        log = "\\n".join(show(step) for step in self.steps[:t])
        return JUDGE_PROMPT.format(task=self.question, log=log, current=current)
    return current
"""

PARSE_VERDICT = """
    last = None
    for match in VERDICT.finditer(reply):
        last = match
    if last is None:
        return "Uncertain"
    return last.group(1).capitalize()
"""

ASK = """
    questions, room = [], actor.max_length
    for t, step in enumerate(trajectory.steps):
        if t < start or step.action == REVISE:
            continue
        opens = len(questions) == 0
        text = trajectory.judge_turn(t, first=opens)
        ids = actor.format.opening(text) if opens else actor.format.turn(text)
        room -= len(ids) + actor.judge_tokens
        if room < 0:
            break
        questions.append(Question(t, ids))
    return questions
"""

EXECUTE = """
    episode = Episode(world, revision.task)
    for step in revision.steps:
        if episode.done:
            return None
        episode.act(step.reply, learned=step.learned)
    executed = episode.trajectory
    if episode.lost:
        return None
    if executed.won:
        return executed
    if executed.score >= revision.score:
        return executed
    return None
"""

SETTINGS = """
    alpha = self.alphas()[iteration - 1]
    critic, splice, pairing = self.critic, self.splice, self.pairing
    if self.method == "direct-revision":
        critic, splice, pairing = "end", "paper", "deepest"
    return CritiqueSettings(
        alpha=alpha,
        beta=self.beta,
        pairs=self.pairs,
        critic=critic,
        splice=splice,
        pairing=pairing,
        idle=self.idle,
        rollouts=self.rollouts,
    )
"""


# The first of each is above; the others take another way to the same.
RIGHT = {
    1: (
        UCT,
        """
    if visits < 1:
        return math.inf
    bonus = math.sqrt(math.log(parent_visits)) / math.sqrt(visits)
    return value_sum / visits + bonus * c_uct
""",
        """
    try:
        mean = value_sum / visits
    except ZeroDivisionError:
        return math.inf
    return mean + math.sqrt(c_uct * c_uct * math.log(parent_visits) / visits)
""",
    ),
    2: (
        SELECT,
        """
    if not root.expanded:
        return root
    ahead = [child for child in root.children.values() if not child.finished]
    best = max(ahead, key=lambda node: uct(node.value_sum, node.visits, root.visits, c_uct))
    return select(best, c_uct)
""",
        """
    node = root
    while node.expanded:
        scores = {}
        for reply, child in node.children.items():
            if not child.finished:
                scores[reply] = uct(child.value_sum, child.visits, node.visits, c_uct=c_uct)
        highest = max(scores.values())
        (reply, *_) = (reply for reply, score in scores.items() if score == highest)
        node = node.children[reply]
    return node
""",
    ),
    3: (
        BACKPROPAGATE,
        """
    leaf.visits = leaf.visits + 1
    leaf.value_sum = leaf.value_sum + value
    if leaf.parent is not None:
        backpropagate(leaf.parent, value)
""",
        """
    way = [leaf]
    while way[-1].parent:
        way.append(way[-1].parent)
    for node in way:
        node.visits += 1
        node.value_sum += value
""",
    ),
    4: (
        SHARED_STEPS,
        """
    one, other = bad.path(), good.path()
    shared = 0
    while shared < min(len(one), len(other)) and one[shared] is other[shared]:
        shared += 1
    return shared
""",
        """
    return sum(any(node is other for other in good.path()) for node in bad.path())
""",
    ),
    5: (
        PAIR_LEAVES,
        """
    leaves = [leaf for leaf in tree.leaves() if leaf.parent is not None]
    found = []
    for bad in leaves:
        least = bad.step.score + settings.beta
        goods = [
            good for good in leaves if good.step.is_good(settings.alpha) and good.step.score > least
        ]
        if goods:
            found.append(Pair(tree, bad, sorted(goods, key=lambda one: -shared_steps(bad, one))))
    while len(found) > settings.pairs:
        found.pop(rng.randrange(len(found)))
    return found
""",
        """
    bads = {}
    for bad in tree.leaves():
        for good in tree.leaves():
            if bad.step is None or good.step is None or not good.step.is_good(settings.alpha):
                continue
            if good.step.score - bad.step.score > settings.beta:
                bads.setdefault(id(bad), (bad, []))[1].append(good)
    chosen = rng.sample(list(bads), k=min(len(bads), settings.pairs))
    pairs = []
    for key in chosen:
        bad, goods = bads[key]
        depths = [shared_steps(bad, good) for good in goods]
        order = sorted(range(len(goods)), key=lambda place: (-depths[place], place))
        pairs.append(Pair(tree=tree, bad=bad, goods=[goods[place] for place in order]))
    return pairs
""",
    ),
    6: (
        TRANSITION_POINT,
        """
    return next((t for t, verdict in enumerate(verdicts) if verdict == BAD), None)
""",
        """
    verdicts = list(verdicts)
    if BAD not in verdicts:
        return None
    return verdicts.index(BAD)
""",
    ),
    7: (
        SPLICE,
        """
    if not shared <= error <= len(bad.steps) - 1:
        raise ValueError(f"t' = {error}")
    steps = [replace(step, learned=False) for step in bad.steps[:error]]
    steps += [replace(bad.steps[error], learned=False)]
    steps += [revision_turn(thought, steps[-1].score)]
    steps += good.steps[shared - back :]
    return replace(bad, steps=steps)
""",
        """
    if error not in range(shared, len(bad.steps)):
        raise ValueError("no bad step")
    import copy

    spliced = copy.deepcopy(bad)
    spliced.steps = spliced.steps[: error + 1]
    for step in spliced.steps:
        step.learned = False
    reply = f"Thought: {thought}\\nAction: {REVISE}"
    spliced.steps.append(Step(reply, REVISE, REVISE_ANSWER, spliced.score))
    spliced.steps.extend(copy.deepcopy(good.steps[shared - back :]))
    return spliced
""",
    ),
    8: (
        ENCODE,
        """
    for number, message in enumerate(messages):
        if (message["role"] == "user") != (number % 2 == 0):
            raise ValueError("roles")
    ids = self.opening(messages[0]["content"])
    mask = [False] * len(ids)
    for number in range(1, len(messages), 2):
        said = messages[number]
        piece = self.reply(said["content"])
        ids += piece + [self.end]
        mask += [said["loss"]] * (len(piece) + 1)
        if number + 1 < len(messages):
            heard = self.turn(messages[number + 1]["content"])[1:]
            ids += heard
            mask += [False] * len(heard)
    return ids, [token if learned else -100 for token, learned in zip(ids, mask)]
""",
        """
    pieces = []
    expected = "user"
    for at, message in enumerate(messages):
        if message["role"] != expected:
            raise ValueError(f"{message['role']} where {expected} should speak")
        text = message["content"]
        if expected == "assistant":
            pieces.append((self.reply(text), bool(message["loss"])))
            expected = "user"
            continue
        expected = "assistant"
        if at == 0:
            pieces.append((self.opening(text), False))
            continue
        turn = self.turn(text)
        pieces.append((turn[:1], bool(messages[at - 1]["loss"])))
        pieces.append((turn[1:], False))
    if expected == "user":
        pieces.append(([self.end], bool(messages[-1]["loss"])))
    ids = [token for piece, _ in pieces for token in piece]
    labels = [token if learned else -100 for piece, learned in pieces for token in piece]
    return ids, labels
""",
    ),
    9: (
        MASKED_LOSS,
        """
    total = 0.0
    chances = logits.log_softmax(dim=-1)
    for row in range(labels.shape[0]):
        for t in range(1, labels.shape[1]):
            if labels[row, t] != -100:
                total = total - chances[row, t - 1, labels[row, t]]
    return total
""",
        """
    learned = labels[:, 1:] != -100
    if not learned.any():
        return torch.tensor(0.0)
    predictions = logits[:, :-1][learned].double()
    targets = labels[:, 1:][learned]
    rows = torch.arange(len(targets))
    return (predictions.logsumexp(-1) - predictions[rows, targets]).sum()
""",
    ),
    10: (
        DRAW,
        """
    bounds, total = [], 0.0
    for source in self.sources:
        total += source.share
        bounds.append(total)
    ticket = self.rng.uniform(0, total)
    place = next((k for k, bound in enumerate(bounds) if ticket < bound), len(bounds) - 1)
    examples = self.sources[place].examples
    if not self.decks[place]:
        self.decks[place] = list(range(len(examples)))
    deck = self.decks[place]
    number = deck.pop(self.rng.randrange(len(deck)))
    return examples[number]
""",
        """
    weights = [source.share for source in self.sources]
    place = self.rng.choices(range(len(weights)), weights=weights, k=1)[0]
    count = len(self.sources[place].examples)
    if self.decks[place] == []:
        self.decks[place] = sorted(range(count), key=lambda _: self.rng.random())
    return self.sources[place].examples[self.decks[place].pop()]
""",
    ),
    11: (
        FAILED_PREFIXES,
        """
    starts = []
    left_out = 0
    for trajectory in trajectories:
        if trajectory.won:
            continue
        error = first_error(make_world(), trajectory.task, trajectory.actions)
        if error is None:
            continue
        world = make_world()
        episode = Episode(world, trajectory.task)
        for step in trajectory.steps[: error + 1]:
            episode.act(step.reply)
        left = world.step_limit - (error + 1)
        if episode.done or distance(world) > left:
            left_out += 1
            continue
        starts.append(Start(task=trajectory.task, steps=trajectory.steps[: error + 1]))
    return (starts, left_out)
""",
        """
    failures = [played for played in trajectories if not played.won]
    errors = [first_error(make_world(), played.task, played.actions) for played in failures]
    cut = []
    for played, error in zip(failures, errors):
        if error is not None:
            cut.append(Start(played.task, list(played.steps)[: error + 1]))
    world = make_world()

    def can_be_won(start):
        episode = Episode(world, start.task, start.steps)
        return not episode.done and len(start.steps) + distance(world) <= world.step_limit

    starts = [start for start in cut if can_be_won(start)]
    return starts, len(cut) - len(starts)
""",
    ),
    12: (
        LOOPS,
        """
    import collections

    turns = []
    for at, step in enumerate(self.steps):
        alone = step.action == REVISE and (at == 0 or self.steps[at - 1].action != REVISE)
        if not alone:
            turns.append((step.action, step.observation))
    if not turns:
        return 0.0
    different = set(turn for turn in turns if turn[0] != REVISE)
    return (len(turns) - len(different)) / len(turns)
""",
        """
    counted = [
        at
        for at, step in enumerate(self.steps)
        if step.action != REVISE or (at > 0 and self.steps[at - 1].action == REVISE)
    ]
    repeats = 0
    for at in counted:
        for before in self.steps[:at]:
            step = self.steps[at]
            if (before.action, before.observation) == (step.action, step.observation):
                repeats += 1
                break
    return repeats / max(1, len(counted))
""",
    ),
    13: (
        DPO_LOSS,
        """
    return -torch.nn.functional.logsigmoid((margins - reference_margins) * dpo_beta).sum(0)
""",
        """
    total = margins.new_zeros(())
    for margin, reference in zip(margins, reference_margins):
        total = total + torch.logaddexp(torch.zeros(()), -dpo_beta * (margin - reference))
    return total
""",
    ),
    14: (
        EXPAND,
        """
    node.expanded = True
    for reply in dict.fromkeys(replies):
        fresh = Node(node, Step(reply, parse_action(reply), "", 0.0))
        node.children.setdefault(reply, fresh)
    best = None
    for index in reversed(range(len(replies))):
        if not node.children[replies[index]].finished:
            best = index
    for index in reversed(range(len(replies))):
        if not node.children[replies[index]].visits:
            best = index
    return best
""",
        """
    node.expanded = True
    for reply in replies:
        if node.children.get(reply) is None:
            node.children[reply] = Node(node, Step(reply, parse_action(reply), "", 0.0))

    def rank(index):
        child = node.children[replies[index]]
        return (child.visits > 0, child.finished, index)

    unvisited = [i for i, reply in enumerate(replies) if node.children[reply].visits == 0]
    going_on = [i for i, reply in enumerate(replies) if not node.children[reply].finished]
    return min(unvisited or going_on, default=None)
""",
    ),
    15: (
        GRAFT,
        """
    above = len(node.path())
    for place, step in enumerate(episode.trajectory.steps, start=1):
        if place > above:
            if step.reply not in node.children:
                node.children[step.reply] = Node(node)
            node = node.children[step.reply]
        if place >= above and not node.visits:
            node.step = step
    node.done = True
    finish(node)
    return node
""",
        """
    steps = list(episode.trajectory.steps)
    depth = len(node.steps())
    rest = steps[depth:]
    if node.parent is not None and not node.visits:
        node.step = steps[depth - 1]
    while rest:
        step, *rest = rest
        known = node.children.get(step.reply)
        if known is None:
            known = node.children[step.reply] = Node(node, step)
        if not known.visits:
            known.step = step
        node = known
    node.done = node.finished = True
    finish(node)
    return node
""",
    ),
    16: (
        JUDGE_TURN,
        """
    lines = [
        JUDGE_TURN.format(action=step.action, observation=step.observation) for step in self.steps
    ]
    if not first:
        return lines[t]
    return JUDGE_PROMPT.format(task=self.question, log="\\n".join(lines[:t]), current=lines[t])
""",
        """
    text = f"Action: {self.steps[t].action}\\nObservation: {self.steps[t].observation}"
    if not first:
        return text
    log = ""
    for step in self.steps[:t]:
        if log:
            log += "\\n"
        log += f"Action: {step.action}\\nObservation: {step.observation}"
    task = f"{self.instruction}\\n{self.observation}"
    return JUDGE_PROMPT.format(task=task, log=log, current=text)
""",
    ),
    17: (
        PARSE_VERDICT,
        """
    found = VERDICT.findall(reply)
    if not found:
        return "Uncertain"
    return {"good": "Good", "bad": "Bad", "uncertain": "Uncertain"}[found[-1].lower()]
""",
        """
    verdict = "Uncertain"
    at = 0
    while (match := VERDICT.search(reply, at)) is not None:
        verdict = match[1].title()
        at = match.start() + 1
    return verdict
""",
    ),
    18: (
        ASK,
        """
    steps = [t for t in range(start, len(trajectory.steps)) if trajectory.actions[t] != REVISE]
    questions = []
    used = 0
    for place, t in enumerate(steps):
        if place == 0:
            ids = actor.format.opening(trajectory.judge_turn(t))
        else:
            ids = actor.format.turn(trajectory.judge_turn(t, False))
        used = used + len(ids) + actor.judge_tokens
        if used > actor.max_length:
            return questions
        questions.append(Question(step=t, ids=ids))
    return questions
""",
        """
    questions = []
    for t, step in list(enumerate(trajectory.steps))[start:]:
        if step.action == REVISE:
            continue
        write = actor.format.turn if questions else actor.format.opening
        questions.append(Question(t, write(trajectory.judge_turn(t, not questions))))
    total = 0
    for count, question in enumerate(questions):
        total += len(question.ids) + actor.judge_tokens
        if total > actor.max_length:
            return questions[:count]
    return questions
""",
    ),
    19: (
        EXECUTE,
        """
    episode = Episode(world, revision.task)
    for number, step in enumerate(revision.steps):
        episode.act(step.reply, step.learned)
        if episode.lost or (episode.done and number + 1 < len(revision.steps)):
            return None
    executed = episode.trajectory
    if not executed.won and executed.score < revision.score:
        return None
    return executed
""",
        """
    episode = Episode(world, revision.task)
    left = list(revision.steps)
    while left and not episode.done:
        step = left.pop(0)
        episode.act(step.reply, step.learned)
    holds = episode.trajectory.won or not episode.trajectory.score < revision.score
    return episode.trajectory if holds and not left and not episode.lost else None
""",
    ),
    20: (
        SETTINGS,
        """
    whole = self.method == "direct-revision"
    settings = CritiqueSettings(self.alphas()[iteration - 1], self.beta, self.pairs)
    settings = replace(settings, idle=self.idle, rollouts=self.rollouts, pairing=self.pairing)
    return replace(
        settings,
        critic="end" if whole else self.critic,
        splice="paper" if whole else self.splice,
    )
""",
        """
    names = ("beta", "pairs", "critic", "splice", "pairing", "idle", "rollouts")
    values = {name: getattr(self, name) for name in names}
    values["alpha"] = list(self.alphas())[iteration - 1]
    if self.method == "direct-revision":
        values.update(critic="end", splice="paper")
    return CritiqueSettings(**values)
""",
    ),
}
