"""Solutions of the exercises, each the body of a function: common wrong ones, and one right each.

The right ones are written otherwise than ours.  tests/test_course.py shows that an exercise's tests
accept them and catch every wrong one.
"""

from __future__ import annotations


def changed(body: str, *edits: tuple[str, str]) -> str:
    """Return a body with pieces replaced; raises `ValueError` if one is not there exactly once."""
    for old, new in edits:
        count = body.count(old)
        if count != 1:
            raise ValueError(f"{old!r} stands there {count} times")
        body = body.replace(old, new)
    return body


# --- right, and what the wrong ones are made of

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
            if r >= settings.alpha and r - bad.step.score > settings.beta:
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
    return Trajectory(bad.task, bad.instruction, bad.observation, steps)
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
        if trajectory.score >= 1:
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

RIGHT = {
    1: UCT,
    2: SELECT,
    3: BACKPROPAGATE,
    4: SHARED_STEPS,
    5: PAIR_LEAVES,
    6: TRANSITION_POINT,
    7: SPLICE,
    8: ENCODE,
    9: MASKED_LOSS,
    10: DRAW,
    11: FAILED_PREFIXES,
    12: LOOPS,
    13: DPO_LOSS,
}


# --- wrong, by exercise and by what is wrong

WRONG = {
    1: {
        "visits of the child in the logarithm": changed(UCT, ("log(parent_visits)", "log(visits)")),
        "visits of child and parent exchanged": changed(
            UCT, ("log(parent_visits) / visits", "log(visits) / parent_visits")
        ),
        "mean divided twice": changed(UCT, ("value_sum / visits", "value_sum / visits / visits")),
        "sum instead of the mean": changed(UCT, ("value_sum / visits", "value_sum")),
        "c_uct under the root": changed(
            UCT,
            (
                "c_uct * (math.log(parent_visits) / visits)",
                "(c_uct * math.log(parent_visits) / visits)",
            ),
        ),
        "root forgotten": changed(UCT, (" ** 0.5", "")),
        "root of the logarithm alone": changed(
            UCT,
            (
                "(math.log(parent_visits) / visits) ** 0.5",
                "math.log(parent_visits) ** 0.5 / visits",
            ),
        ),
        "logarithm forgotten": changed(UCT, ("math.log(parent_visits)", "parent_visits")),
        "logarithm to base 10": changed(UCT, ("math.log(", "math.log10(")),
        "c_uct forgotten": changed(UCT, ("c_uct * ", "")),
        "a child never visited is worth 0": changed(UCT, ('float("inf")', "0.0")),
        "a child never visited divides by 0": changed(UCT, ("not visits", "False")),
    },
    2: {
        "one level only": changed(SELECT, ("node = best", "return best")),
        "by mean value": changed(
            SELECT, ("uct(child.value_sum, child.visits, node.visits, c_uct)", "child.q")
        ),
        "by visits": changed(
            SELECT, ("uct(child.value_sum, child.visits, node.visits, c_uct)", "child.visits")
        ),
        "lowest score": changed(SELECT, ("score > highest", "score < highest")),
        "visits of the child as the parent's": changed(SELECT, ("node.visits", "child.visits")),
        "visits of the root as the parent's": changed(SELECT, ("node.visits", "root.visits")),
        "ties to the last": changed(SELECT, ("score > highest", "score >= highest")),
        "into finished children": changed(SELECT, ("child.finished", "False")),
        "into finished children, to where nothing is left": changed(
            SELECT, ("child.finished", "child.done")
        ),
        "ends of episodes alone passed over": changed(
            SELECT,
            ("child.finished", "child.done"),
            ("node = best", "if best is None:\n            return node\n        node = best"),
        ),
        "up to a finished child": changed(
            SELECT,
            ("child.finished", "False"),
            ("node = best", "if best.finished:\n            return node\n        node = best"),
        ),
        "a finished child is worth 0": changed(
            SELECT,
            ("            if child.finished:\n                continue\n", ""),
            ("if best is None", "score *= not child.finished\n            if best is None"),
        ),
        "the first child that is not finished": changed(
            SELECT, ("best is None or score > highest", "best is None")
        ),
        "children instead of expanded": changed(SELECT, ("not node.expanded", "not node.children")),
        "the root, however much is below it": changed(SELECT, ("node = root", "return root")),
    },
    3: {
        "the root left out": """
            for node in leaf.path():
                node.visits += 1
                node.value_sum += value
        """,
        "the leaf left out": changed(BACKPROPAGATE, ("leaf.path():", "leaf.path()[:-1]:")),
        "the leaf alone": """
            leaf.visits += 1
            leaf.value_sum += value
        """,
        "value at the leaf alone": """
            leaf.value_sum += value
            while leaf is not None:
                leaf.visits += 1
                leaf = leaf.parent
        """,
        "the value replaces the sum": """
            while leaf is not None:
                leaf.visits += 1
                leaf.value_sum = value
                leaf = leaf.parent
        """,
        "a running mean instead of the sum": """
            while leaf is not None:
                leaf.visits += 1
                leaf.value_sum += (value - leaf.value_sum) / leaf.visits
                leaf = leaf.parent
        """,
        "the largest value instead of the sum": """
            while leaf is not None:
                leaf.visits += 1
                leaf.value_sum = max(leaf.value_sum, value)
                leaf = leaf.parent
        """,
        "sign changed on every level, as in a game of two": """
            while leaf is not None:
                leaf.visits += 1
                leaf.value_sum += value
                leaf, value = leaf.parent, -value
        """,
        "discounted on every level": """
            while leaf is not None:
                leaf.visits += 1
                leaf.value_sum += value
                leaf, value = leaf.parent, 0.99 * value
        """,
        "failures not counted": """
            while leaf is not None and value:
                leaf.visits += 1
                leaf.value_sum += value
                leaf = leaf.parent
        """,
        "the whole tree counted": """
            while leaf.parent is not None:
                leaf = leaf.parent
            for node in leaf.walk():
                node.visits += 1
                node.value_sum += value
        """,
    },
    4: {
        "the root counted": changed(SHARED_STEPS, ("len(node.path())", "len(node.path()) + 1")),
        "the shared node's own step left out": changed(
            SHARED_STEPS, ("len(node.path())", "max(0, len(node.path()) - 1)")
        ),
        "actions compared instead of nodes": """
            return sum(a.step.action == b.step.action for a, b in zip(bad.path(), good.path()))
        """,
        "actions in common anywhere": """
            actions, others = ({node.step.action for node in leaf.path()} for leaf in (bad, good))
            return len(actions & others)
        """,
        "actions compared up to the first that differs": """
            shared = 0
            for a, b in zip(bad.path(), good.path()):
                if a.step.action != b.step.action:
                    break
                shared += 1
            return shared
        """,
        "the shorter path": "return min(len(bad.path()), len(good.path()))",
        "the parent of the bad leaf": "return len(bad.path()) - 1",
    },
    5: {
        "threshold beta not strict": changed(PAIR_LEAVES, ("> settings.beta", ">= settings.beta")),
        "threshold alpha strict": changed(PAIR_LEAVES, (">= settings.alpha", "> settings.alpha")),
        "beta as a bound of r(bad)": changed(
            PAIR_LEAVES, ("r - bad.step.score > settings.beta", "bad.step.score < settings.beta")
        ),
        "a leaf from alpha on is never bad": changed(
            PAIR_LEAVES, ("if goods:", "if goods and bad.step.score < settings.alpha:")
        ),
        "alpha and beta exchanged": changed(
            PAIR_LEAVES,
            ("settings.alpha", "settings.beta"),
            ("> settings.beta", "> settings.alpha"),
        ),
        "shallowest shared node first": changed(PAIR_LEAVES, (", reverse=True", "")),
        "good leaves in no order": changed(
            PAIR_LEAVES,
            ("goods.sort(key=lambda good: shared_steps(bad, good), reverse=True)", ""),
        ),
        "ties the last sampled first": changed(
            PAIR_LEAVES,
            (
                "goods.sort(key=lambda good: shared_steps(bad, good), reverse=True)",
                "goods.sort(key=lambda good: shared_steps(bad, good)); goods.reverse()",
            ),
        ),
        "mean value instead of the score": changed(
            PAIR_LEAVES, ("r = good.step.score", "r = good.q")
        ),
        "the first pairs instead of drawn ones": changed(PAIR_LEAVES, ("rng.shuffle(pairs)", "")),
        "drawn without the generator given": changed(
            PAIR_LEAVES, ("rng.shuffle(pairs)", "__import__('random').shuffle(pairs)")
        ),
        "drawn with putting back": changed(
            PAIR_LEAVES,
            ("rng.shuffle(pairs)", "pairs = rng.choices(pairs, k=settings.pairs) if pairs else []"),
        ),
        "no limit to the pairs": changed(PAIR_LEAVES, ("pairs[: settings.pairs]", "pairs")),
        "one good leaf only": changed(PAIR_LEAVES, ("bad, goods)", "bad, goods[:1])")),
        "a leaf without a step": changed(PAIR_LEAVES, (" if leaf.step is not None", "")),
        "tuples instead of pairs": changed(
            PAIR_LEAVES, ("Pair(tree, bad, goods)", "(tree, bad, goods)")
        ),
    },
    6: {
        "Uncertain is Bad": changed(TRANSITION_POINT, ('== "Bad"', '!= "Good"')),
        "one too late": changed(TRANSITION_POINT, ("return t\n", "return t + 1\n")),
        "one too early": changed(TRANSITION_POINT, ("return t\n", "return t - 1\n")),
        "the last Bad": """
            return max((t for t, verdict in enumerate(verdicts) if verdict == "Bad"), default=None)
        """,
        "index 0 taken for none": changed(TRANSITION_POINT, ("return t\n", "return t or None\n")),
        "-1 for none": changed(TRANSITION_POINT, ("return None", "return -1")),
        "the end for none": changed(TRANSITION_POINT, ("return None", "return len(verdicts)")),
        "the first Good": changed(TRANSITION_POINT, ('"Bad"', '"Good"')),
    },
    7: {
        "bad actions trained on": changed(SPLICE, ("learned=False", "learned=True")),
        "the shared beginning trained on": changed(
            SPLICE, ("learned=False", "learned=len(steps) < shared")
        ),
        "the error itself trained on": changed(
            SPLICE, ("learned=False", "learned=len(steps) == error")
        ),
        "bad actions trained on as they were": changed(
            SPLICE, ("replace(step, learned=False)", "step")
        ),
        "the revision turn not trained on": changed(SPLICE, ("learned=True", "learned=False")),
        "good actions not trained on": changed(
            SPLICE, ("(good.steps[at])", "(replace(good.steps[at], learned=False))")
        ),
        "suffix from the root": changed(SPLICE, ("range(shared - back,", "range(0,")),
        "suffix from behind the error": changed(
            SPLICE, ("range(shared - back,", "range(error + 1,")
        ),
        "suffix one step too late": changed(
            SPLICE, ("range(shared - back,", "range(shared + 1 - back,")
        ),
        "back ignored": changed(SPLICE, ("shared - back", "shared")),
        "back in the wrong direction": changed(SPLICE, ("shared - back", "shared + back")),
        "error left out": changed(SPLICE, ("[: error + 1]", "[:error]")),
        "one bad action too many": changed(SPLICE, ("[: error + 1]", "[: error + 2]")),
        "the whole failure, as in Direct-Revision": changed(SPLICE, ("[: error + 1]", "")),
        "no bad actions": changed(SPLICE, ("[: error + 1]", "[:shared]")),
        "no revision turn": changed(SPLICE, ("steps.append(Step(", "left_out = (Step(")),
        "wait instead of revise": changed(SPLICE, ("reply, REVISE,", 'reply, "wait",')),
        "score of the revision turn from the good episode": changed(
            SPLICE, ("score = bad.steps[error].score", "score = good.score")
        ),
        "what was taken back is trained on": changed(
            SPLICE, ("(good.steps[at])", "(replace(good.steps[at], learned=True))")
        ),
        "the good steps' marks made anew": changed(
            SPLICE, ("(good.steps[at])", "(learnable(good, CritiqueSettings()).steps[at])")
        ),
        "effects of the bad steps lost": changed(
            SPLICE,
            (
                "replace(step, learned=False)",
                "Step(step.reply, step.action, step.observation, step.score, learned=False)",
            ),
        ),
        "learned in the place of the effect": changed(SPLICE, (", learned=True", ", True")),
        "marks from the root": changed(
            SPLICE,
            (
                "(good.steps[at])",
                "(replace(good.steps[at], learned=good.steps[at - shared + back].learned))",
            ),
        ),
        "nothing refused": changed(SPLICE, ("error < shared or error >= len(bad.steps)", "False")),
        "error at the fork refused": changed(SPLICE, ("error < shared", "error <= shared")),
        "the bad steps marked where they stand": changed(
            SPLICE,
            (
                "steps.append(replace(step, learned=False))",
                "step.learned = False; steps.append(step)",
            ),
        ),
        "the bad trajectory changed": changed(
            SPLICE, ("    return Trajectory", "    bad.steps[:] = steps\n    return Trajectory")
        ),
    },
    8: {
        "bad actions trained on": changed(
            ENCODE, ('message["loss"])\n        elif', "True)\n        elif")
        ),
        "user turns trained on": changed(ENCODE, ("add(rest, False)", "add(rest, True)")),
        "the opening trained on": changed(
            ENCODE,
            (
                'add(self.opening(message["content"]), False)',
                'add(self.opening(message["content"]), True)',
            ),
        ),
        "the end token left out": changed(
            ENCODE,
            ('add([end], messages[index - 1]["loss"])', "add([end], False)"),
            ('add([self.end], messages[-1]["loss"])', "add([self.end], False)"),
        ),
        "the end token left out before a user turn": changed(
            ENCODE, ('add([end], messages[index - 1]["loss"])', "add([end], False)")
        ),
        "the end token left out at the end": changed(
            ENCODE, ('add([self.end], messages[-1]["loss"])', "add([self.end], False)")
        ),
        "the end token always learned": changed(
            ENCODE, ('add([end], messages[index - 1]["loss"])', "add([end], True)")
        ),
        "no end token at the end": changed(
            ENCODE, ('if messages[-1]["role"] == "assistant":', "if False:")
        ),
        "an end token after a user turn": changed(
            ENCODE,
            ('if messages[-1]["role"] == "assistant":', "if True:"),
            ('messages[-1]["loss"]', "False"),
        ),
        "the flag of the turn before": changed(
            ENCODE,
            (
                'message["loss"])\n        elif',
                'messages[index - 2].get("loss", False))\n        elif',
            ),
        ),
        "labels shifted by one": changed(
            ENCODE, ("return ids, labels", "return ids, [*labels[1:], -100]")
        ),
        "roles not checked": changed(
            ENCODE, ('message["role"] != ("assistant" if index % 2 else "user")', "False")
        ),
        "0 instead of -100": changed(ENCODE, ("[-100]", "[0]")),
        "what opens the agent's turn trained on": changed(
            ENCODE,
            (
                "add(rest, False)",
                "add(rest[:-1], False)\n"
                "            opens = index + 1 < len(messages) and messages[index + 1]['loss']\n"
                "            add(rest[-1:], opens)",
            ),
        ),
    },
    9: {
        "labels not shifted": changed(
            MASKED_LOSS, ("logits[:, :-1]", "logits"), ("labels[:, 1:]", "labels")
        ),
        "labels shifted the wrong way": changed(
            MASKED_LOSS, ("logits[:, :-1]", "logits[:, 1:]"), ("labels[:, 1:]", "labels[:, :-1]")
        ),
        "rows laid end to end before the shift": """
            flat, targets = logits.flatten(0, 1)[:-1], labels.flatten()[1:]
            return torch.nn.functional.cross_entropy(flat, targets, reduction="sum")
        """,
        "mean instead of the sum": changed(MASKED_LOSS, (".sum()", ".mean()")),
        "summed over tokens, averaged over rows": changed(
            MASKED_LOSS, (".sum()", ".sum() / len(labels)")
        ),
        "the mask ignored": changed(MASKED_LOSS, ("targets != -100", "targets == targets")),
        "the mask ignored, and the mean": changed(
            MASKED_LOSS, ("targets != -100", "targets == targets"), (".sum()", ".mean()")
        ),
        "0 taken for the mask": changed(MASKED_LOSS, ("targets != -100", "targets > 0")),
        "only rows that begin with -100": changed(
            MASKED_LOSS, ("labels[:, 1:]", "labels[:, 1:].where(labels[:, :1] == -100, -100)")
        ),
        "softmax taken twice": changed(
            MASKED_LOSS, (".log_softmax(-1)", ".softmax(-1).log_softmax(-1)")
        ),
        "probability instead of its logarithm": changed(MASKED_LOSS, ("log_softmax", "softmax")),
        "no gradient": changed(MASKED_LOSS, (".float()", ".detach()")),
        "the sign lost": changed(MASKED_LOSS, ("return -each", "return each")),
        "a loss for each token": changed(MASKED_LOSS, ("[learned].sum()", "[learned]")),
    },
    10: {
        "eta and 1 - eta exchanged": changed(
            DRAW, ("for source in self.sources]", "for source in self.sources][::-1]")
        ),
        "shares ignored": changed(
            DRAW, ("source.share for source in self.sources", "1 for source in self.sources")
        ),
        "shares taken to add up to 1": changed(DRAW, (" * sum(shares)", "")),
        "sources thrown together": """
            return self.rng.choice([one for source in self.sources for one in source.examples])
        """,
        "shares by the length of examples": changed(
            DRAW,
            (
                "source.share for source in self.sources",
                "source.share / source.examples[0].length for source in self.sources",
            ),
        ),
        "drawn with putting back": changed(
            DRAW, ("examples[deck.pop(0)]", "self.rng.choice(examples)")
        ),
        "in the order of the file": changed(DRAW, ("self.rng.shuffle(deck)", "")),
        "shuffled once and for all": changed(
            DRAW, ("self.rng.shuffle(deck)", "__import__('random').Random(0).shuffle(deck)")
        ),
        "drawn without the generator given": changed(
            DRAW, ("self.rng.random()", "__import__('random').random()")
        ),
        "the likeliest source always": changed(
            DRAW,
            ("    deck, examples", "    k = shares.index(max(shares))\n    deck, examples"),
        ),
        "one example of each source never drawn": changed(
            DRAW, ("range(len(examples))", "range(len(examples) - 1 or 1)")
        ),
    },
    11: {
        "cut before the error": changed(FAILED_PREFIXES, ("[: t + 1]", "[:t]")),
        "cut one step too late": changed(FAILED_PREFIXES, ("[: t + 1]", "[: t + 2]")),
        "the whole failed episode": changed(FAILED_PREFIXES, ("[: t + 1]", "")),
        "solved episodes too": changed(FAILED_PREFIXES, ("trajectory.score >= 1", "False")),
        "any score is a success": changed(
            FAILED_PREFIXES, ("trajectory.score >= 1", "trajectory.score > 0")
        ),
        "what cannot be recovered from is kept": changed(
            FAILED_PREFIXES,
            (
                "not over and way is not None and len(prefix) + len(way) <= world.step_limit",
                "True",
            ),
        ),
        "the step limit forgotten": changed(
            FAILED_PREFIXES, (" and len(prefix) + len(way) <= world.step_limit", "")
        ),
        "steps taken already forgotten": changed(
            FAILED_PREFIXES, ("len(prefix) + len(way)", "len(way)")
        ),
        "what is left out is not counted": changed(FAILED_PREFIXES, ("lost += 1", "lost += 0")),
        "failures without an error counted": changed(
            FAILED_PREFIXES,
            ("if t is not None:", "if t is None:\n            lost += 1\n        else:"),
        ),
        "no error taken for an error at the end": changed(
            FAILED_PREFIXES,
            (
                "if t is not None:",
                "t = len(trajectory.steps) if t is None else t\n        if True:",
            ),
        ),
        "tuples instead of starts": changed(
            FAILED_PREFIXES, ("Start(trajectory.task, prefix)", "(trajectory.task, prefix)")
        ),
    },
    12: {
        "immediate repeats only": changed(LOOPS, ("in seen or", "in seen[-1:] or")),
        "actions without observations": changed(
            LOOPS,
            (
                "(step.action, step.observation) in seen",
                "step.action in [action for action, _ in seen]",
            ),
        ),
        "observations without actions": changed(
            LOOPS,
            ("(step.action, step.observation) in seen", "step.observation in [o for _, o in seen]"),
        ),
        "revisions counted as loops": changed(
            LOOPS, ("step.action == REVISE and not", "False and not")
        ),
        "revisions never counted": changed(
            LOOPS, (" and not (before and before.action == REVISE)", "")
        ),
        "revisions counted as steps": changed(
            LOOPS, ("repeated / counted if counted", "repeated / len(self.steps) if counted")
        ),
        "a number instead of a share": changed(LOOPS, ("repeated / counted", "repeated")),
        "the share of different steps": changed(
            LOOPS, ("repeated / counted", "1 - repeated / counted")
        ),
        "divided by the different steps": changed(
            LOOPS, ("repeated / counted", "repeated / len(set(seen))")
        ),
        "the first time counted too": changed(
            LOOPS,
            (
                "repeated += 1",
                "repeated += 1 + (seen.count((step.action, step.observation)) == 1)",
            ),
        ),
        "no steps, no share": changed(LOOPS, (" if counted else 0.0", "")),
    },
    13: {
        "the reference's margin the wrong way round": changed(
            DPO_AS_OURS, ("margins - reference_margins", "reference_margins - margins")
        ),
        "no reference": changed(DPO_AS_OURS, ("(margins - reference_margins)", "margins")),
        "dpo_beta left out": changed(DPO_AS_OURS, ("dpo_beta * ", "")),
        "divided by dpo_beta": changed(
            DPO_AS_OURS,
            (
                "dpo_beta * (margins - reference_margins)",
                "(margins - reference_margins) / dpo_beta",
            ),
        ),
        "dpo_beta on the policy alone": changed(
            DPO_AS_OURS, ("(margins - reference_margins)", "margins - reference_margins")
        ),
        "no minus": changed(DPO_AS_OURS, ("return -", "return ")),
        "no logarithm": changed(DPO_AS_OURS, ("logsigmoid", "sigmoid")),
        "log of the sigmoid in two steps": changed(
            DPO_AS_OURS, ("logsigmoid(", "sigmoid("), (").sum()", ").log().sum()")
        ),
        "the mean over pairs": changed(DPO_AS_OURS, (".sum()", ".mean()")),
        "one logarithm for all pairs": changed(
            DPO_AS_OURS,
            ("margins - reference_margins)).sum()", "margins - reference_margins).sum())"),
        ),
        "a loss for each pair": changed(DPO_AS_OURS, (".sum()", "")),
    },
}
