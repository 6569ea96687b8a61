"""Solutions of the exercises, each the body of a function: common wrong ones, and right ones unlike ours.

tests/test_course.py shows that an exercise's tests catch every wrong one and accept every right one.
"""


def changed(body, *edits):
    """A body with pieces replaced, each of which stands there exactly once."""
    for old, new in edits:
        assert body.count(old) == 1, f"{old!r} stands there {body.count(old)} times"
        body = body.replace(old, new)
    return body


RIGHT = {
    1: """
        import math
        if not visits:
            return float("inf")
        q = value_sum / visits
        return q + c_uct * (math.log(parent_visits) / visits) ** 0.5
    """,
    2: """
        node = root
        while True:
            if node.done or not node.expanded:
                return node
            best, highest = None, None
            for child in node.children.values():
                score = uct(child.value_sum, child.visits, node.visits, c_uct)
                if best is None or score > highest:
                    best, highest = child, score
            node = best
    """,
    3: """
        root = leaf
        for node in leaf.path():
            node.visits += 1
            node.value_sum += value
        while root.parent is not None:
            root = root.parent
        root.visits += 1
        root.value_sum += value
    """,
    4: """
        above = set(map(id, good.path()))
        node = bad
        while node.parent is not None and id(node) not in above:
            node = node.parent
        return len(node.path())
    """,
    5: """
        found = []
        leaves = [leaf for leaf in tree.leaves() if leaf.step is not None]
        for bad in leaves:
            goods = []
            for good in leaves:
                r = good.step.score
                if r >= alpha and r - bad.step.score > beta:
                    goods.append(good)
            goods.sort(key=lambda good: shared_steps(bad, good), reverse=True)
            if goods:
                found.append((bad, goods))
        rng.shuffle(found)
        return found[:pairs]
    """,
    6: """
        for t, verdict in enumerate(verdicts):
            if verdict == "Bad":
                return t
        return None
    """,
    7: """
        if error < shared or error >= len(bad.steps):
            raise ValueError(f"step {error} is no bad step behind the shared node")
        flags = good.learned() if learned is None else list(learned)
        steps = []
        for step in bad.steps[: error + 1]:
            steps.append((step, False))
        reply = "Thought: " + thought + "\\nAction: " + REVISE
        steps.append((Step(reply, REVISE, agent_r.REVISE_ANSWER, bad.steps[error].score), True))
        for at in range(shared - back, len(good.steps)):
            steps.append((good.steps[at], flags[at]))
        revision = Trajectory(bad.task, bad.instruction, bad.observation, [step for step, _ in steps])
        return revision, [flag for _, flag in steps]
    """,
    8: """
        ids, labels = [], []

        def add(tokens, learned):
            ids.extend(tokens)
            labels.extend(tokens if learned else [-100] * len(tokens))

        for index, message in enumerate(messages):
            if message["role"] != ("assistant" if index % 2 else "user"):
                raise ValueError(f"turn {index}: user and assistant must alternate")
            if message["role"] == "assistant":
                add(self._content(message["content"]), message["loss"])
            elif index == 0:
                add(self.opening(message["content"]), False)
            else:
                end, *rest = self.turn(message["content"])
                add([end], messages[index - 1]["loss"])
                add(rest, False)
        if messages[-1]["role"] == "assistant":
            add([self.end], messages[-1]["loss"])
        return ids, labels
    """,
    9: """
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        flat, targets = logits.flatten(0, 1), labels[:, 1:].flatten()
        return torch.nn.functional.cross_entropy(flat, targets, ignore_index=-100, reduction="sum")
    """,
    10: """
        at, k = rng.random() * sum(shares), 0
        while k + 1 < len(shares) and at >= shares[k]:
            at -= shares[k]
            k += 1
        if len(decks[k]) == 0:
            decks[k].extend(range(len(sources[k])))
            rng.shuffle(decks[k])
        return sources[k][decks[k].pop(0)]
    """,
    11: """
        starts, lost = [], 0
        for trajectory in trajectories:
            if trajectory.score >= 1:
                continue
            world = make_world()
            t = true_first_error(world, trajectory.task, [step.action for step in trajectory.steps])
            if t is not None:
                prefix = trajectory.steps[: t + 1]
                over = Episode(world, trajectory.task, prefix).done
                way = world.expert()
                if not over and way is not None and len(prefix) + len(way) <= world.step_limit:
                    starts.append((trajectory.task, prefix))
                else:
                    lost += 1
        return starts, lost
    """,
    12: """
        seen, repeated, counted = [], 0, 0
        for step in self.steps:
            if step.action == REVISE:
                continue
            counted += 1
            if (step.action, step.observation) in seen:
                repeated += 1
            seen.append((step.action, step.observation))
        return repeated / counted if counted else 0.0
    """,
    13: """
        losses = torch.nn.functional.softplus(dpo_beta * (reference - margins))
        return losses.sum()
    """,
}

UCT, SELECT, BACK, SHARED, PAIR, ERROR, SPLICE, ENCODE, LOSS, MIX, RECOVERY, LOOPS, _ = RIGHT.values()
DPO = """
    return -torch.nn.functional.logsigmoid(dpo_beta * (margins - reference)).sum()
"""

WRONG = {
    1: {
        "visits of the child in the logarithm": changed(UCT, ("log(parent_visits)", "log(visits)")),
        "visits of child and parent exchanged": changed(
            UCT, ("log(parent_visits) / visits", "log(visits) / parent_visits")
        ),
        "mean divided twice": changed(UCT, ("value_sum / visits", "value_sum / visits / visits")),
        "sum instead of the mean": changed(UCT, ("value_sum / visits", "value_sum")),
        "c_uct under the root": changed(
            UCT, ("c_uct * (math.log(parent_visits) / visits)", "(c_uct * math.log(parent_visits) / visits)")
        ),
        "root forgotten": changed(UCT, (" ** 0.5", "")),
        "root of the logarithm alone": changed(
            UCT, ("(math.log(parent_visits) / visits) ** 0.5", "math.log(parent_visits) ** 0.5 / visits")
        ),
        "logarithm forgotten": changed(UCT, ("math.log(parent_visits)", "parent_visits")),
        "logarithm to base 10": changed(UCT, ("math.log(", "math.log10(")),
        "a child never visited is worth 0": changed(UCT, ('float("inf")', "0.0")),
        "a child never visited divides by 0": changed(UCT, ("not visits", "False")),
    },
    2: {
        "one level only": changed(SELECT, ("node = best", "return best")),
        "by mean value": changed(SELECT, ("uct(child.value_sum, child.visits, node.visits, c_uct)", "child.q")),
        "by visits": changed(SELECT, ("uct(child.value_sum, child.visits, node.visits, c_uct)", "child.visits")),
        "lowest score": changed(SELECT, ("score > highest", "score < highest")),
        "visits of the child as the parent's": changed(SELECT, ("node.visits", "child.visits")),
        "visits of the root as the parent's": changed(SELECT, ("node.visits", "root.visits")),
        "ties to the last": changed(SELECT, ("score > highest", "score >= highest")),
        "through the end of an episode": changed(SELECT, ("node.done or not node.expanded", "not node.expanded")),
        "children instead of expanded": changed(SELECT, ("not node.expanded", "not node.children")),
        "the root as long as it has children": changed(SELECT, ("node = root", "return root")),
    },
    3: {
        "the root left out": "for node in leaf.path():\n    node.visits += 1\n    node.value_sum += value",
        "the leaf left out": changed(BACK, ("leaf.path():", "leaf.path()[:-1]:")),
        "the leaf alone": "leaf.visits += 1\nleaf.value_sum += value",
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
        "the root counted": changed(SHARED, ("len(node.path())", "len(node.path()) + 1")),
        "the shared node's own step left out": changed(SHARED, ("len(node.path())", "max(0, len(node.path()) - 1)")),
        "actions compared instead of nodes": """
            return sum(a.step.action == b.step.action for a, b in zip(bad.path(), good.path()))
        """,
        "actions in common anywhere": """
            actions, others = ({node.step.action for node in leaf.path()} for leaf in (bad, good))
            return len(actions & others)
        """,
        "the shorter path": "return min(len(bad.path()), len(good.path()))",
        "the parent of the bad leaf": "return len(bad.path()) - 1",
    },
    5: {
        "threshold beta not strict": changed(PAIR, ("> beta", ">= beta")),
        "threshold alpha strict": changed(PAIR, (">= alpha", "> alpha")),
        "beta as a bound of r(bad)": changed(PAIR, ("r - bad.step.score > beta", "bad.step.score < beta")),
        "a leaf from alpha on is never bad": changed(PAIR, ("if goods:", "if goods and bad.step.score < alpha:")),
        "shallowest shared node first": changed(PAIR, (", reverse=True", "")),
        "good leaves in no order": changed(
            PAIR, ("goods.sort(key=lambda good: shared_steps(bad, good), reverse=True)", "")
        ),
        "mean value instead of the score": changed(PAIR, ("r = good.step.score", "r = good.q")),
        "the first pairs instead of drawn ones": changed(PAIR, ("rng.shuffle(found)", "")),
        "drawn without the generator given": changed(
            PAIR, ("rng.shuffle(found)", "__import__('random').shuffle(found)")
        ),
        "no limit to the pairs": changed(PAIR, ("found[:pairs]", "found")),
        "one good leaf only": changed(PAIR, ("(bad, goods)", "(bad, goods[:1])")),
        "a leaf without a step": changed(PAIR, (" if leaf.step is not None", "")),
        "ties the last sampled first": changed(
            PAIR,
            (
                "goods.sort(key=lambda good: shared_steps(bad, good), reverse=True)",
                "goods.sort(key=lambda good: shared_steps(bad, good)); goods.reverse()",
            ),
        ),
    },
    6: {
        "Uncertain is Bad": changed(ERROR, ('verdict == "Bad"', 'verdict != "Good"')),
        "one too late": changed(ERROR, ("return t\n", "return t + 1\n")),
        "one too early": changed(ERROR, ("return t\n", "return t - 1\n")),
        "the last Bad": 'return max((t for t, verdict in enumerate(verdicts) if verdict == "Bad"), default=None)',
        "index 0 taken for none": changed(ERROR, ("return t\n", "return t or None\n")),
        "-1 for none": changed(ERROR, ("return None", "return -1")),
        "the end for none": changed(ERROR, ("return None", "return len(verdicts)")),
        "the first Good": changed(ERROR, ('"Bad"', '"Good"')),
    },
    7: {
        "bad actions trained on": changed(SPLICE, ("steps.append((step, False))", "steps.append((step, True))")),
        "the shared beginning trained on": changed(SPLICE, ("(step, False)", "(step, len(steps) < shared)")),
        "the error itself trained on": changed(SPLICE, ("(step, False)", "(step, len(steps) == error)")),
        "the revision turn not trained on": changed(
            SPLICE, ("bad.steps[error].score), True)", "bad.steps[error].score), False)")
        ),
        "good actions not trained on": changed(SPLICE, ("flags[at]", "False")),
        "suffix from the root": changed(SPLICE, ("range(shared - back,", "range(0,")),
        "suffix from behind the error": changed(SPLICE, ("range(shared - back,", "range(error + 1,")),
        "suffix one step too late": changed(SPLICE, ("range(shared - back,", "range(shared + 1 - back,")),
        "back ignored": changed(SPLICE, ("shared - back", "shared")),
        "back in the wrong direction": changed(SPLICE, ("shared - back", "shared + back")),
        "error left out": changed(SPLICE, ("[: error + 1]", "[:error]")),
        "one bad action too many": changed(SPLICE, ("[: error + 1]", "[: error + 2]")),
        "the whole failure, as in Direct-Revision": changed(SPLICE, ("[: error + 1]", "")),
        "no bad actions": changed(SPLICE, ("[: error + 1]", "[:shared]")),
        "no revision turn": changed(SPLICE, ("steps.append((Step(", "left_out = ((Step(")),
        "wait instead of revise": changed(SPLICE, ("reply, REVISE,", 'reply, "wait",')),
        "score of the revision turn from the good episode": changed(SPLICE, ("bad.steps[error].score", "good.score")),
        "learned ignored": changed(SPLICE, ("good.learned() if learned is None else list(learned)", "good.learned()")),
        "what was taken back is trained on": changed(
            SPLICE, ("good.learned() if learned is None", "[True] * len(good.steps) if learned is None")
        ),
        "flags from the root": changed(SPLICE, ("flags[at]", "flags[at - shared + back]")),
        "nothing refused": changed(SPLICE, ("error < shared or error >= len(bad.steps)", "False")),
        "error at the fork refused": changed(SPLICE, ("error < shared", "error <= shared")),
        "the bad trajectory changed": changed(
            SPLICE, ("revision = ", "bad.steps[:] = [step for step, _ in steps]; revision = ")
        ),
    },
    8: {
        "bad actions trained on": changed(ENCODE, ('message["loss"])\n            elif', "True)\n            elif")),
        "user turns trained on": changed(ENCODE, ("add(rest, False)", "add(rest, True)")),
        "the opening trained on": changed(
            ENCODE, ('add(self.opening(message["content"]), False)', 'add(self.opening(message["content"]), True)')
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
        "no end token at the end": changed(ENCODE, ('if messages[-1]["role"] == "assistant":', "if False:")),
        "an end token after a user turn": changed(
            ENCODE, ('if messages[-1]["role"] == "assistant":', "if True:"), ('messages[-1]["loss"]', "False")
        ),
        "the flag of the turn before": changed(
            ENCODE, ('message["loss"])\n            elif', 'messages[index - 2].get("loss", False))\n            elif')
        ),
        "labels shifted by one": changed(ENCODE, ("return ids, labels", "return ids, [*labels[1:], -100]")),
        "roles not checked": changed(ENCODE, ('message["role"] != ("assistant" if index % 2 else "user")', "False")),
        "0 instead of -100": changed(ENCODE, ("[-100]", "[0]")),
        "what opens the agent's turn trained on": changed(
            ENCODE,
            (
                "add(rest, False)",
                "add(rest[:-1], False); add(rest[-1:], index + 1 < len(messages) and messages[index + 1]['loss'])",
            ),
        ),
    },
    9: {
        "labels not shifted": changed(LOSS, ("[:, :-1]", ""), ("labels[:, 1:]", "labels")),
        "labels shifted the wrong way": changed(
            LOSS, (".logits[:, :-1]", ".logits[:, 1:]"), ("labels[:, 1:]", "labels[:, :-1]")
        ),
        "mean instead of the sum": changed(LOSS, ('"sum"', '"mean"')),
        "summed over tokens, averaged over rows": changed(LOSS, ('reduction="sum")', 'reduction="sum") / len(ids)')),
        "the mask ignored": changed(LOSS, ("labels[:, 1:]", "ids[:, 1:]")),
        "only rows that begin with -100": changed(
            LOSS, ("labels[:, 1:]", "labels[:, 1:].where(labels[:, :1] == -100, -100)")
        ),
        "softmax taken twice": changed(LOSS, (".float()", ".float().softmax(-1)")),
        "probability instead of its logarithm": """
            chances = model(input_ids=ids, use_cache=False).logits[:, :-1].softmax(-1)
            learned = labels[:, 1:] != -100
            return -chances.gather(-1, labels[:, 1:].clamp(min=0)[..., None])[..., 0][learned].sum()
        """,
        "no gradient": changed(
            LOSS,
            ("return torch.nn.functional.cross_entropy(flat", "return torch.nn.functional.cross_entropy(flat.detach()"),
        ),
        "the sign lost": changed(LOSS, ("return torch", "return -torch")),
    },
    10: {
        "eta and 1 - eta exchanged": """
            (k,) = rng.choices(range(len(sources)), shares[::-1])
            if not decks[k]:
                decks[k] = rng.sample(range(len(sources[k])), len(sources[k]))
            return sources[k][decks[k].pop()]
        """,
        "shares ignored": """
            k = rng.randrange(len(sources))
            if not decks[k]:
                decks[k] = rng.sample(range(len(sources[k])), len(sources[k]))
            return sources[k][decks[k].pop()]
        """,
        "sources thrown together": "return rng.choice([example for source in sources for example in source])",
        "drawn with putting back": """
            (k,) = rng.choices(range(len(sources)), shares)
            return rng.choice(sources[k])
        """,
        "in the order of the file": changed(MIX, ("rng.shuffle(decks[k])", "")),
        "shuffled once and for all": changed(
            MIX, ("rng.shuffle(decks[k])", "__import__('random').Random(0).shuffle(decks[k])")
        ),
        "drawn without the generator given": changed(MIX, ("rng.random()", "__import__('random').random()")),
        "the likeliest source always": """
            k = shares.index(max(shares))
            if not decks[k]:
                decks[k] = rng.sample(range(len(sources[k])), len(sources[k]))
            return sources[k][decks[k].pop()]
        """,
        "one example of each source never drawn": changed(
            MIX, ("range(len(sources[k]))", "range(len(sources[k]) - 1 or 1)")
        ),
    },
    11: {
        "cut before the error": changed(RECOVERY, ("[: t + 1]", "[:t]")),
        "cut one step too late": changed(RECOVERY, ("[: t + 1]", "[: t + 2]")),
        "the whole failed episode": changed(RECOVERY, ("[: t + 1]", "")),
        "solved episodes too": changed(RECOVERY, ("trajectory.score >= 1", "False")),
        "any score is a success": changed(RECOVERY, ("trajectory.score >= 1", "trajectory.score > 0")),
        "what cannot be recovered from is kept": changed(
            RECOVERY, ("not over and way is not None and len(prefix) + len(way) <= world.step_limit", "True")
        ),
        "the step limit forgotten": changed(RECOVERY, (" and len(prefix) + len(way) <= world.step_limit", "")),
        "steps taken already forgotten": changed(RECOVERY, ("len(prefix) + len(way)", "len(way)")),
        "what is left out is not counted": changed(RECOVERY, ("lost += 1", "lost += 0")),
        "failures without an error counted": changed(
            RECOVERY, ("if t is not None:", "if t is None:\n                lost += 1\n            else:")
        ),
        "no error taken for an error at the end": changed(
            RECOVERY, ("if t is not None:", "t = len(trajectory.steps) if t is None else t\n            if True:")
        ),
    },
    12: {
        "immediate repeats only": changed(LOOPS, ("in seen:", "in seen[-1:]:")),
        "actions without observations": changed(
            LOOPS, ("(step.action, step.observation) in seen", "step.action in [action for action, _ in seen]")
        ),
        "observations without actions": changed(
            LOOPS, ("(step.action, step.observation) in seen", "step.observation in [o for _, o in seen]")
        ),
        "revisions counted as loops": changed(LOOPS, ("step.action == REVISE", "False")),
        "revisions counted as steps": changed(
            LOOPS, ("repeated / counted if counted", "repeated / len(self.steps) if counted")
        ),
        "a number instead of a share": changed(LOOPS, ("repeated / counted", "repeated")),
        "the share of different steps": changed(LOOPS, ("repeated / counted", "1 - repeated / counted")),
        "divided by the different steps": changed(LOOPS, ("repeated / counted", "repeated / len(set(seen))")),
        "the first time counted too": changed(
            LOOPS, ("repeated += 1", "repeated += 1 + (seen.count((step.action, step.observation)) == 1)")
        ),
        "no steps, no share": changed(LOOPS, (" if counted else 0.0", "")),
    },    13: {
        "the reference's margin the wrong way round": changed(DPO, ("margins - reference", "reference - margins")),
        "no reference": changed(DPO, ("(margins - reference)", "margins")),
        "dpo_beta left out": changed(DPO, ("dpo_beta * ", "")),
        "divided by dpo_beta": changed(DPO, ("dpo_beta * (margins - reference)", "(margins - reference) / dpo_beta")),
        "dpo_beta on the policy alone": changed(DPO, ("(margins - reference)", "margins - reference")),
        "no minus": changed(DPO, ("return -", "return ")),
        "no logarithm": changed(DPO, ("logsigmoid", "sigmoid")),
        "log of the sigmoid in two steps": changed(DPO, ("logsigmoid(", "sigmoid("), (").sum()", ").log().sum()")),
        "the mean over pairs": changed(DPO, (".sum()", ".mean()")),
        "one logarithm for all pairs": changed(DPO, ("margins - reference)).sum()", "margins - reference).sum())")),
        "a loss for each pair": changed(DPO, (".sum()", "")),
    },
}
