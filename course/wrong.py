"""Common wrong solutions of the exercises, each the body of a function.

tests/test_course.py shows that an exercise's tests catch every one of them, and name the mistake.
"""

from __future__ import annotations

from course.right import (
    ASK,
    BACKPROPAGATE,
    DPO_AS_OURS,
    DRAW,
    ENCODE,
    EXECUTE,
    EXPAND,
    FAILED_PREFIXES,
    GRAFT,
    JUDGE_TURN,
    LOOPS,
    MASKED_LOSS,
    PAIR_LEAVES,
    PARSE_VERDICT,
    SELECT,
    SETTINGS,
    SHARED_STEPS,
    SPLICE,
    TRANSITION_POINT,
    UCT,
)


def changed(body: str, *edits: tuple[str, str]) -> str:
    """Return a body with pieces replaced; raises `ValueError` if one is not there exactly once."""
    for old, new in edits:
        count = body.count(old)
        if count != 1:
            raise ValueError(f"{old!r} stands there {count} times")
        body = body.replace(old, new)
    return body


# By exercise, and by what is wrong.
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
        "observations compared up to the first that differs": """
            shared = 0
            for a, b in zip(bad.path(), good.path()):
                if a.step.observation != b.step.observation:
                    break
                shared += 1
            return shared
        """,
        "observations in common anywhere": """
            seen, others = ({node.step.observation for node in leaf.path()} for leaf in (bad, good))
            return len(seen & others)
        """,
        "the shorter path": "return min(len(bad.path()), len(good.path()))",
        "the parent of the bad leaf": "return len(bad.path()) - 1",
    },
    5: {
        "threshold beta not strict": changed(PAIR_LEAVES, ("> settings.beta", ">= settings.beta")),
        "threshold alpha strict": changed(
            PAIR_LEAVES, ("good.step.is_good(settings.alpha)", "r > settings.alpha")
        ),
        "beta as a bound of r(bad)": changed(
            PAIR_LEAVES, ("r - bad.step.score > settings.beta", "bad.step.score < settings.beta")
        ),
        "a leaf from alpha on is never bad": changed(
            PAIR_LEAVES, ("if goods:", "if goods and bad.step.score < settings.alpha:")
        ),
        "alpha and beta exchanged": changed(
            PAIR_LEAVES,
            ("> settings.beta", "> settings.alpha"),
            ("is_good(settings.alpha)", "is_good(settings.beta)"),
        ),
        "a success that pays less left out": changed(
            PAIR_LEAVES, ("good.step.is_good(settings.alpha)", "r >= settings.alpha")
        ),
        "the good leaves cut to the number of pairs": changed(
            PAIR_LEAVES, ("bad, goods)", "bad, goods[: settings.pairs])")
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
            PAIR_LEAVES,
            ("r = good.step.score", "r = good.q"),
            ("r - bad.step.score", "r - bad.q"),
            ("good.step.is_good(settings.alpha)", "r >= settings.alpha"),
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
        "a pair for each good leaf": changed(
            PAIR_LEAVES,
            (
                "pairs.append(Pair(tree, bad, goods))",
                "pairs.extend(Pair(tree, bad, [good]) for good in goods)",
            ),
        ),
        "as many as are asked for, whatever there is": changed(
            PAIR_LEAVES,
            ("    rng.shuffle(pairs)\n", ""),
            ("pairs[: settings.pairs]", "rng.sample(pairs, settings.pairs)"),
        ),
        "drawn among all leaves": changed(
            PAIR_LEAVES,
            (
                "for bad in leaves:",
                "for bad in rng.sample(leaves, min(settings.pairs, len(leaves))):",
            ),
        ),
        "pairs without a good leaf": changed(PAIR_LEAVES, ("if goods:", "if True:")),
        "a success is never bad": changed(
            PAIR_LEAVES, ("if goods:", "if goods and not bad.step.is_good(1.0):")
        ),
        "in order by the pairing alone": changed(
            PAIR_LEAVES, ("goods.sort(", "settings.pairing == 'deepest' and goods.sort(")
        ),
        "a window of neighbours that never reaches the last": changed(
            PAIR_LEAVES,
            (
                "rng.shuffle(pairs)",
                "k = rng.randrange(max(1, len(pairs) - settings.pairs)); pairs = pairs[k:]",
            ),
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
        "what the agent was told is lost": changed(SPLICE, ("steps, bad.told)", "steps)")),
        "learned in the place of the effect": changed(SPLICE, (", learned=True", ", True")),
        "marks from the root": changed(
            SPLICE,
            (
                "(good.steps[at])",
                "(replace(good.steps[at], learned=good.steps[at - shared + back].learned))",
            ),
        ),
        "nothing refused": changed(SPLICE, ("error < shared or error >= len(bad.steps)", "False")),
        "one step back at most": changed(SPLICE, ("shared - back", "shared - min(back, 1)")),
        "the world's word on success lost": changed(
            SPLICE,
            (
                "(good.steps[at])",
                "(replace(good.steps[at], won=None))",
            ),
        ),
        "the good trajectory changed": changed(
            SPLICE, ("    return Trajectory", "    good.steps[:] = steps\n    return Trajectory")
        ),
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
        "the end token twice": changed(ENCODE, ("        add([end],", "        add([end, end],")),
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
        "the whole tail of the template learned": changed(
            ENCODE,
            (
                'end, *rest = self.turn(message["content"])',
                "turn = self.turn(message['content'])\n"
                "            at = len(turn) - len(self.opening(message['content']))\n"
                "            end, rest = turn[:max(1, at)], turn[max(1, at):]",
            ),
            ("add([end], messages", "add(end, messages"),
        ),
        "the whole turn of the user learned but for its text": changed(
            ENCODE,
            (
                'end, *rest = self.turn(message["content"])',
                "turn = self.turn(message['content'])\n"
                "            words = self.reply(message['content'])\n"
                "            at = turn.index(words[0])\n"
                "            end, rest = turn[:at], turn[at:]",
            ),
            ("add([end], messages", "add(end, messages"),
        ),
        "role markers of a text taken for roles": """
            ids = list(self.opening(messages[0]["content"]))
            for said, heard in zip(messages[1::2], messages[2::2]):
                if said["role"] != "assistant" or heard["role"] != "user":
                    raise ValueError("user and assistant must alternate")
                ids += self.reply(said["content"]) + self.turn(heard["content"])
            if messages[0]["role"] != "user" or len(messages) % 2 == 0:
                if messages[-1]["role"] == "user" or messages[0]["role"] != "user":
                    raise ValueError("user and assistant must alternate")
                ids += [*self.reply(messages[-1]["content"]), self.end]
            marker = self.opening("")[-1]
            flags = iter([message["loss"] for message in messages if "loss" in message])
            labels, learned = [], False
            for token in ids:
                labels.append(token if learned else -100)
                if token == marker:
                    learned = next(flags, False)
                if token == self.end:
                    learned = False
            return ids, labels
        """,
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
        "the logarithm of a small probability": changed(
            MASKED_LOSS, (".log_softmax(-1)", ".softmax(-1).log()")
        ),
        "labels changed where they stand": changed(
            MASKED_LOSS, ("targets.clamp(min=0)", "targets.clamp_(min=0)")
        ),
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
        "solved episodes too": changed(FAILED_PREFIXES, ("trajectory.won", "False")),
        "a success by its score": changed(
            FAILED_PREFIXES, ("trajectory.won", "trajectory.score >= 1")
        ),
        "step 0 taken for no error": changed(FAILED_PREFIXES, ("t is not None", "t")),
        "errors from step 1 on": changed(
            FAILED_PREFIXES, ("in trajectory.steps])", "in trajectory.steps], 1)")
        ),
        "any score is a success": changed(
            FAILED_PREFIXES, ("trajectory.won", "trajectory.score > 0")
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
        "every second revision of a row": """
            seen, repeated, counted, row = [], 0, 0, 0
            for step in self.steps:
                row = row + 1 if step.action == REVISE else 0
                if row % 2 == 0:
                    counted += 1
                    repeated += (step.action, step.observation) in seen
                seen.append((step.action, step.observation))
            return repeated / counted if counted else 0.0
        """,
        "turns without an action left out": changed(
            LOOPS,
            (
                "if step.action == REVISE and not",
                "if not step.action or step.action == REVISE and not",
            ),
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
        "no gradient": changed(DPO_AS_OURS, ("(margins - ", "(margins.detach() - ")),
    },
    14: {
        "the node not marked as expanded": changed(EXPAND, ("node.expanded = True", "pass")),
        "children that were there made anew": changed(
            EXPAND, ("        if reply in node.children:\n            continue\n", "")
        ),
        "children by their actions": changed(
            EXPAND,
            ("if reply in node.children", "if parse_action(reply) in node.children"),
            ("node.children[reply] = Node", "node.children[parse_action(reply)] = Node"),
            (
                "[node.children[reply] for reply in replies]",
                "[node.children[parse_action(reply)] for reply in replies]",
            ),
        ),
        "the index among the children": changed(
            EXPAND, ("[node.children[reply] for reply in replies]", "list(node.children.values())")
        ),
        "finished children played": changed(EXPAND, ("if not child.finished]", "if True]")),
        "the first reply always": changed(EXPAND, ("return new[0]", "return 0")),
        "the first that is not finished, visited or not": changed(EXPAND, ("if new:", "if False:")),
        "visited children never played": changed(
            EXPAND, ("open_ones[0] if open_ones else None", "None")
        ),
        "the last new one": changed(EXPAND, ("new[0]", "new[-1]")),
        "0 for nothing": changed(EXPAND, ("else None", "else 0")),
        "-1 for nothing": changed(EXPAND, ("else None", "else -1")),
        "index 0 taken for none": changed(EXPAND, ("return new[0]", "return new[0] or None")),
        "a visit counted": changed(EXPAND, ("step=step)", "step=step, visits=1)")),
        "no step": changed(EXPAND, ("step=step)", "step=None)")),
        "no parent": changed(EXPAND, ("parent=node, ", "")),
        "the reply as the action": changed(EXPAND, ("parse_action(reply)", "reply")),
        "the reply returned": changed(EXPAND, ("return new[0]", "return replies[new[0]]")),
    },
    15: {
        "the leaf not marked as done": changed(GRAFT, ("node.done = True", "pass")),
        "every node marked as done": changed(
            GRAFT, ("        node = child\n", "        node = child\n        node.done = True\n")
        ),
        "nothing finished": changed(GRAFT, ("finish(node)", "pass")),
        "the leaf alone finished": changed(GRAFT, ("finish(node)", "node.finished = True")),
        "steps from the root": changed(GRAFT, ("steps[depth:]", "steps")),
        "one step too many": changed(GRAFT, ("steps[depth:]", "steps[max(0, depth - 1):]")),
        "one step too few": changed(GRAFT, ("steps[depth:]", "steps[depth + 1:]")),
        "all steps below the same node": changed(
            GRAFT,
            ("        node = child\n", "        last = child\n"),
            (
                "    node.done = True\n    finish(node)\n    return node",
                "    last.done = True\n    finish(last)\n    return last",
            ),
        ),
        "a sampled node stays without an answer": changed(
            GRAFT, ("if depth > 0 and node.visits == 0:", "if False:")
        ),
        "a sampled child stays without an answer": changed(
            GRAFT, ("elif child.visits == 0:", "elif False:")
        ),
        "what was visited forgets its answer": changed(GRAFT, ("elif child.visits == 0:", "else:")),
        "a visited node forgets its answer": changed(GRAFT, (" and node.visits == 0", "")),
        "children made anew": changed(
            GRAFT, ("child = node.children.get(step.reply)", "child = None")
        ),
        "visits counted": changed(
            GRAFT, ("        node = child\n", "        node = child\n        node.visits += 1\n")
        ),
        "rollout steps marked as expanded": changed(
            GRAFT,
            ("        node = child\n", "        node.expanded = True\n        node = child\n"),
        ),
        "the answer alone taken over": changed(
            GRAFT,
            (
                "node.step = steps[depth - 1]",
                "node.step.observation = steps[depth - 1].observation",
            ),
            ("child.step = step\n", "child.step.observation = step.observation\n"),
        ),
        "children by their actions": changed(
            GRAFT,
            ("node.children.get(step.reply)", "node.children.get('Action: ' + step.action)"),
            ("node.children[step.reply]", "node.children['Action: ' + step.action]"),
        ),
        "the node comes back, not the leaf": changed(
            GRAFT,
            ("    depth = ", "    given = node\n    depth = "),
            ("return node", "return given"),
        ),
    },
    16: {
        "the action in its own log": changed(
            JUDGE_TURN, ("self.steps[:t])", "self.steps[: t + 1])")
        ),
        "no log": changed(JUDGE_TURN, ("log=log", "log=''")),
        "the last action alone as the log": changed(
            JUDGE_TURN, ("self.steps[:t])", "self.steps[max(0, t - 1) : t])")
        ),
        "revisions left out of the log": changed(
            JUDGE_TURN, ("self.steps[:t])", "self.steps[:t] if step.action != REVISE)")
        ),
        "the log run together": changed(JUDGE_TURN, ('"\\n".join', '"".join')),
        "task and log in every turn": changed(JUDGE_TURN, ("if first:", "if True:")),
        "task and log in no turn": changed(JUDGE_TURN, ("if first:", "if False:")),
        "the action before": changed(
            JUDGE_TURN, ("show(self.steps[t])", "show(self.steps[t - 1])")
        ),
        "the action alone": changed(
            JUDGE_TURN, ("show(self.steps[t])", "'Action: ' + self.steps[t].action")
        ),
        "the whole reply for the action": changed(
            JUDGE_TURN, ("action=step.action", "action=step.reply")
        ),
        "braces of a text taken for fields": changed(
            JUDGE_TURN,
            (
                "JUDGE_PROMPT.format(task=self.question, log=log, current=current)",
                "JUDGE_PROMPT.replace('{log}', log).format(task=self.question, current=current)",
            ),
        ),
        "the name of the task": changed(JUDGE_TURN, ("task=self.question", "task=self.task")),
        "the instruction alone": changed(
            JUDGE_TURN, ("task=self.question", "task=self.instruction")
        ),
        "what is for the agent alone": changed(
            JUDGE_TURN, ("task=self.question", "task=self.opening")
        ),
    },
    17: {
        "the first judgement": changed(
            PARSE_VERDICT, ("        last = match\n", "        last = last or match\n")
        ),
        "the last line alone": changed(
            PARSE_VERDICT, ("finditer(reply)", "finditer(reply.rpartition('\\n')[2])")
        ),
        "line by line": """
            last = None
            for line in reply.split("\\n"):
                for match in VERDICT.finditer(line):
                    last = match
            return last.group(1).capitalize() if last else "Uncertain"
        """,
        "as it was written": changed(PARSE_VERDICT, (".capitalize()", "")),
        "label and all": changed(PARSE_VERDICT, ("last.group(1)", "last.group(0)")),
        "any word that is a verdict": """
            for verdict in ("Good", "Bad", "Uncertain"):
                if verdict.lower() in reply.lower():
                    return verdict
            return "Uncertain"
        """,
        "the last word": """
            words = [word.strip(".,*") for word in reply.lower().split()] or [""]
            return words[-1].capitalize() if words[-1] in ("good", "bad") else "Uncertain"
        """,
        "small letters": changed(PARSE_VERDICT, (".capitalize()", ".lower()")),
        "Good without a judgement": changed(PARSE_VERDICT, ('return "Uncertain"', 'return "Good"')),
        "Bad without a judgement": changed(PARSE_VERDICT, ('return "Uncertain"', 'return "Bad"')),
        "None without a judgement": changed(PARSE_VERDICT, ('return "Uncertain"', "return None")),
        "one form alone": """
            _, label, verdict = reply.rpartition("Judgment: ")
            return verdict if verdict in ("Good", "Bad") else "Uncertain"
        """,
        "not bad is bad": """
            found = re.findall(r"(?i)judge?ments?.*?(good|bad|uncertain)", reply)
            return found[-1].capitalize() if found else "Uncertain"
        """,
    },
    18: {
        "from the root": changed(ASK, ("t < start or ", "")),
        "one step too late": changed(ASK, ("t < start", "t <= start")),
        "revisions asked about": changed(ASK, (" or step.action == REVISE", "")),
        "the end at a revision": changed(
            ASK,
            ("if t < start or step.action == REVISE:", "if t < start:"),
            (
                "        opens =",
                "        if step.action == REVISE:\n            break\n        opens =",
            ),
        ),
        "the place among the questions": changed(
            ASK, ("Question(t, ids)", "Question(len(questions), ids)")
        ),
        "every question opens the dialogue": changed(
            ASK, ("opens = len(questions) == 0", "opens = True")
        ),
        "no question opens the dialogue": changed(
            ASK, ("opens = len(questions) == 0", "opens = False")
        ),
        "the step at the start opens it, asked about or not": changed(
            ASK, ("opens = len(questions) == 0", "opens = t == start")
        ),
        "task and log in every turn": changed(ASK, ("first=opens", "first=True")),
        "a turn that opens nothing": changed(
            ASK,
            (
                "actor.format.opening(text) if opens else actor.format.turn(text)",
                "actor.format.turn(text)",
            ),
        ),
        "the answers not counted": changed(ASK, (" + actor.judge_tokens", "")),
        "the turns not counted": changed(ASK, ("len(ids) + actor", "actor")),
        "one question too many": changed(
            ASK,
            ("        if room < 0:\n            break\n", ""),
            ("Question(t, ids))", "Question(t, ids))\n        if room < 0:\n            break"),
        ),
        "a full context is too full": changed(ASK, ("room < 0", "room <= 0")),
        "gaps where a turn does not fit": changed(
            ASK,
            (
                "            break\n",
                "            room += len(ids) + actor.judge_tokens\n            continue\n",
            ),
        ),
        "no limit": changed(ASK, ("room < 0", "False")),
        "the texts alone": changed(ASK, ("Question(t, ids)", "(t, ids)")),
    },
    19: {
        "what was recorded kept": changed(
            EXECUTE, ("executed = episode.trajectory", "executed = revision")
        ),
        "everything learned": changed(EXECUTE, ("learned=step.learned", "learned=True")),
        "the score not asked for": changed(EXECUTE, ("executed.score >= revision.score", "True")),
        "more than was promised": changed(EXECUTE, ("score >= revision", "score > revision")),
        "exactly what was promised": changed(EXECUTE, ("score >= revision", "score == revision")),
        "full marks alone": changed(EXECUTE, (">= revision.score", ">= 1.0")),
        "a success that pays less thrown away": changed(EXECUTE, ("if executed.won:", "if False:")),
        "a step behind the end": changed(
            EXECUTE,
            ("            return None\n        episode", "            break\n        episode"),
        ),
        "the end taken for too early": changed(
            EXECUTE,
            ("        if episode.done:\n            return None\n", ""),
            (
                "learned=step.learned)\n",
                "learned=step.learned)\n        if episode.done:\n            return None\n",
            ),
        ),
        "a lost episode kept": changed(EXECUTE, ("if episode.lost:", "if False:")),
        "the thoughts lost": changed(EXECUTE, ("act(step.reply", "act('Action: ' + step.action")),
        "nearly what was promised": changed(
            EXECUTE, ("executed.score >= revision.score", "executed.score > revision.score - 0.01")
        ),
        "actions without a reply": changed(EXECUTE, ("act(step.reply", "act(step.action")),
        "False for what is not kept": EXECUTE.replace("return None", "return False"),
        "the splice changed": changed(
            EXECUTE,
            (
                "    executed = episode.trajectory",
                "    executed = episode.trajectory\n    revision.steps[:] = executed.steps",
            ),
        ),
    },
    20: {
        "one iteration late": changed(SETTINGS, ("[iteration - 1]", "[iteration - 2]")),
        "iterations counted from 0": changed(
            SETTINGS, ("[iteration - 1]", "[iteration % len(self.alphas())]")
        ),
        "the first alpha always": changed(SETTINGS, ("[iteration - 1]", "[0]")),
        "the last alpha always": changed(SETTINGS, ("[iteration - 1]", "[-1]")),
        "alpha as it was written": changed(SETTINGS, ("self.alphas()", "self.alpha.split(',')")),
        "alpha and beta exchanged": changed(
            SETTINGS, ("alpha=alpha", "alpha=self.beta"), ("beta=self.beta", "beta=alpha")
        ),
        "beta forgotten": changed(SETTINGS, ("        beta=self.beta,\n", "")),
        "pairs forgotten": changed(SETTINGS, ("        pairs=self.pairs,\n", "")),
        "idle forgotten": changed(SETTINGS, ("        idle=self.idle,\n", "")),
        "rollouts forgotten": changed(SETTINGS, ("        rollouts=self.rollouts,\n", "")),
        "pairing forgotten": changed(SETTINGS, ("        pairing=pairing,\n", "")),
        "critic forgotten": changed(SETTINGS, ("self.critic, self.splice", "'actor', self.splice")),
        "Direct-Revision asks the judge": changed(
            SETTINGS, ('"end", "paper"', 'self.critic, "paper"')
        ),
        "Direct-Revision carries its splices out": changed(
            SETTINGS, ('"end", "paper"', '"end", self.splice')
        ),
        "Direct-Revision as any other": changed(SETTINGS, ('== "direct-revision"', '== "direct"')),
        "every method as Direct-Revision": changed(
            SETTINGS, ('self.method == "direct-revision"', "True")
        ),
    },
}
