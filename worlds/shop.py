"""shop: WebShop in miniature, where only a product's own page tells whether it is the right one.

Read in order: `Product` and `Wish`, `shop_reward` (WebShop's own formula), `products` and `wishes`
(the stock, and what may be asked of it), `search` and `Shop`.

Unlike WebShop, a search finds kinds, not brands, and works on every page, not on the first alone;
and a product's page shows its features too, and says what of the wish it lacks: a tiny model
compares badly, and a judge cannot find an error that nothing shows.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

from envs import ANSWERED, CHANGED, REFUSED, UserError, World

THINGS = {"wear": "hat belt", "kitchen": "mug bowl", "home": "lamp clock", "play": "ball doll"}
COLORS = "red blue green black white pink grey gold"
SIZES = "tiny small large huge"
MATERIALS = "wool silk steel glass cork wood clay felt jade linen straw brass"
BRANDS = "nova zeta orion luna apex vega terra aura delta lyra onyx rhea"
FEATURES = "light warm soft smooth shiny round flat sturdy plain rare new handmade"
HIGHEST_PRICE = 90
PAGE = "abcd"  # the labels of the results on one page


@dataclasses.dataclass(frozen=True)
class Product:
    """What can be bought."""

    title: str
    query: str  # the words by which it is found
    category: tuple[str, ...]  # from the general to the special
    price: int
    options: dict[str, list[str]]  # kind of option -> the labels on offer
    attributes: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Wish:
    """What an instruction asks for."""

    product: Product
    options: dict[str, str]  # kind of option -> the label that is wanted
    attributes: Sequence[str]
    limit: int  # the price may be that high


# --- the reward


def shop_reward(wish: Wish, purchase: Product, selection: dict[str, str]) -> float:
    """Return WebShop's reward r in [0, 1] for a product bought with the selected options.

    r = r_type * (matched attributes + matched options + [price <= limit])
               / (attributes + options + 1), see `type_reward` for r_type.
    `selection` maps a kind of option to the label that was chosen.
    """
    attributes = sum(attribute in purchase.attributes for attribute in wish.attributes)
    options = sum(selection.get(kind) == label for kind, label in wish.options.items())
    price = purchase.price <= wish.limit
    matched = attributes + options + price
    total = len(wish.attributes) + len(wish.options) + 1
    return type_reward(wish.product, purchase) * matched / total


def type_reward(wanted: Product, purchase: Product) -> float:
    """Return r_type: 1 for a product of the wanted type, else 0.5.

    It is 0.1 or 0 where hardly a word of the wanted title, or none, stands in the other title.
    """
    wanted_words = wanted.title.split()
    words = purchase.title.split()
    title_score = sum(word in words for word in wanted_words) / len(wanted_words)
    if title_score == 0:
        return 0.0
    if title_score < 0.1:
        return 0.1
    levels = set(wanted.category).intersection(purchase.category)
    if purchase.query == wanted.query or len(levels) >= 2 or title_score > 0.2:
        return 1.0
    return 0.5


# --- the stock


@cache
def products() -> list[Product]:
    """Return the 288 products, always the same: three brands of every material and thing."""
    rng = random.Random("shop")
    stock = []
    for material in MATERIALS.split():
        for room, things in THINGS.items():
            for thing in things.split():
                kind = f"{material} {thing}"
                for brand in rng.sample(BRANDS.split(), 3):
                    options = {
                        "colors": rng.sample(COLORS.split(), 2),
                        "sizes": rng.sample(SIZES.split(), 2),
                    }
                    product = Product(
                        title=f"{brand} {kind}",
                        query=kind,
                        category=(room, thing, kind),
                        price=10 * rng.randint(1, HIGHEST_PRICE // 10),
                        options=options,
                        attributes=rng.sample(FEATURES.split(), 1),
                    )
                    stock.append(product)
    return stock


@cache
def wishes() -> dict[str, Wish]:
    """Return, by its name, each wish that one product alone fulfils, under the highest limit."""
    offers = defaultdict(list)  # (color, size, feature) -> the products that have all three
    for product in products():
        for labels in itertools.product(*product.options.values(), product.attributes):
            offers[labels].append(product)
    unique = {}
    for (color, size, feature), offered in offers.items():
        for product in offered:
            options = {"colors": color, "sizes": size}
            wish = Wish(product, options, (feature,), HIGHEST_PRICE)
            limit = HIGHEST_PRICE
            for rival in offered:
                if rival is not product and shop_reward(wish, rival, options) == 1:
                    limit = min(limit, rival.price - 10)
            if product.price <= limit:
                name = "-".join((*product.title.split(), color, size, feature))
                unique[name] = dataclasses.replace(wish, limit=limit)
    return unique


@lru_cache(maxsize=2**16)
def search(query: str, order: int) -> list[Product]:
    """Return the products whose kind shares most words with `query`, or none if none shares any.

    `order` decides in which order a task shows them, whatever the query.
    """
    rng = random.Random(order)
    places = {product.title: rng.random() for product in products()}
    words = set(query.split())
    most = 1
    results: list[Product] = []
    for product in products():
        shared = len(words.intersection(product.query.split()))
        if shared > most:
            most = shared
            results = []
        if shared == most:
            results.append(product)
    return sorted(results, key=lambda product: places[product.title])


# --- the world


class Shop(World):
    """Search, open a product, choose its options and buy.

    Results tell title and price; a product's page tells its colors, sizes, feature and price.
    Whoever opened the wrong one must go back or search again.  Only buying pays.
    """

    name = "shop"
    step_limit = 18
    manual = (
        "Buy what is asked for. A search shows results, each with a label, a to d; a click on one"
        " opens that product, which says what it lacks. Click the wanted options, then buy; back"
        " leads to the results, next to more of them. An example:\n"
        "buy a silk hat: red, small, warm, price up to 50.\nthe search page.\n"
        "Thought: i search for the thing.\nAction: search silk hat\na nova silk hat 40.\n"
        "Thought: it is cheap enough.\nAction: click a\n"
        "nova silk hat: colors: red blue; sizes: tiny small; features: warm; price: 40.\n"
        "Thought: it has both options.\nAction: click red\nred chosen.\n"
        "Thought: one more option.\nAction: click small"
    )
    words = " ".join((MATERIALS, BRANDS, FEATURES, COLORS, SIZES, *THINGS.values())) + (
        " buy a: b c d price, up to 10 20 30 40 50 60 70 80 90. you can: search WORDS, click LABEL."
        " next prev back features description by chosen bought. the search page; colors: sizes: no"
        " features: price: too high"
        " nothing happens"
    )

    def tasks(self, split: str) -> Sequence[str]:
        """Return 20,000 train, 2,000 validation or 2,000 test tasks.

        No kind of product is wanted in two splits.
        """
        kinds = sorted({product.query for product in products()})
        random.Random("shop").shuffle(kinds)
        parts = {"train": kinds[32:], "validation": kinds[:16], "test": kinds[16:32]}
        wanted = parts[split]
        names = [name for name, wish in wishes().items() if wish.product.query in wanted]
        rng = random.Random(f"shop {split}")
        count = 20_000 if split == "train" else 2_000
        return [f"{rng.choice(names)}-{order}" for order in range(count)]

    def begin(self, task: str) -> tuple[str, str]:
        """Start a task named BRAND-MATERIAL-THING-COLOR-SIZE-FEATURE-ORDER.

        The order is that of the results.
        """
        match = re.fullmatch(r"([a-z-]+)-([0-9]{1,9})", task)
        if not match or match[1] not in wishes():
            example = f"{min(wishes())}-0"
            raise UserError(f"shop has no task {task!r}; a task is named as in {example}")
        self.wish = wishes()[match[1]]
        self.order = int(match[2])
        self._search_page()
        self.selection: dict[str, str] = {}  # kind of option -> the label clicked on this page
        labels = ", ".join((*self.wish.options.values(), *self.wish.attributes))
        request = f"buy a {self.wish.product.query}: {labels}, price up to {self.wish.limit}."
        return f"{request} you can: search WORDS, click LABEL.", self._look()

    def act(self, action: str) -> str:
        """Carry out `search WORDS` or `click LABEL`; refuse anything else."""
        before = (self.results, self.page, self.item, dict(self.selection))
        observation = self._answer(action)
        if observation == "nothing happens.":
            self.effect = REFUSED
        elif before == (self.results, self.page, self.item, self.selection):
            self.effect = ANSWERED
        else:
            self.effect = CHANGED
        return observation

    def _answer(self, action: str) -> str:
        verb, _, label = action.partition(" ")
        if verb == "search" and label:
            self._search_page()
            self.results = search(label, self.order)
            return self._look()
        if verb != "click" or label not in self._labels():
            return "nothing happens."
        if self.item is None:
            return self._click_result(label)
        return self._click_product(self.item, label)

    def expert(self) -> list[str] | None:
        """Return the shortest way from here to buying what is wanted, knowing which it is."""
        if self.done:
            return [] if self.score == 1.0 else None
        product = self.wish.product
        if self.item is product:
            return self._clicks_on_product(self.selection)
        # A search for its kind shows it on the earliest page it can have, as all keep the order.
        results = search(product.query, self.order)
        from_search = [f"search {product.query}", *self._clicks_on_results(results, page=0)]
        if product not in self.results:
            return from_search
        from_here = self._clicks_on_results(self.results, self.page)
        if self.item:
            from_here.insert(0, "click back")
        return min(from_search, from_here, key=len)  # a search works everywhere, so it goes first

    def choices(self) -> list[str]:
        """Click anything, or search for the wanted kind, or for a part of it."""
        clicks = [f"click {label}" for label in self._labels()]
        query = self.wish.product.query
        searches = [f"search {words}" for words in (query, *query.split())]
        return clicks + searches

    def _search_page(self) -> None:
        self.results: list[Product] = []
        self.page = 0  # of the results
        self.item: Product | None = None  # whose page this is

    def _shown(self) -> dict[str, Product]:
        """Return the results on this page by their labels."""
        return dict(zip(PAGE, self.results[len(PAGE) * self.page :], strict=False))

    def _labels(self) -> list[str]:
        """Return what can be clicked."""
        if self.item:
            options = itertools.chain(*self.item.options.values())
            return [*options, "features", "description", "buy", "back"]
        labels = list(self._shown())
        if len(PAGE) * (self.page + 1) < len(self.results):
            labels.append("next")
        if self.page > 0:
            labels.append("prev")
        if self.results:
            labels.append("back")
        return labels

    def _click_result(self, label: str) -> str:
        if label == "next":
            self.page += 1
        elif label == "prev":
            self.page -= 1
        elif label == "back":
            self._search_page()
        else:
            self.item = self._shown()[label]
            self.selection = {}
        return self._look()

    def _click_product(self, item: Product, label: str) -> str:
        if label == "back":
            self.item = None
            return self._look()
        if label == "buy":
            self.score = shop_reward(self.wish, item, self.selection)
            self.done = True
            return "bought."
        if label == "features":
            return f"{self._features(item)}."
        if label == "description":
            return f"by {item.title.split()[0]}."
        for kind, labels in item.options.items():
            if label in labels:
                self.selection[kind] = label
        return f"{label} chosen."

    def _look(self) -> str:
        if self.item:
            lines = []
            for kind, labels in self.item.options.items():
                wanted = self.wish.options[kind]
                missing = "" if wanted in labels else f", no {wanted}"
                lines.append(f"{kind}: {' '.join(labels)}{missing}")
            lines.append(self._features(self.item))
            too_high = ", too high" if self.item.price > self.wish.limit else ""
            lines.append(f"price: {self.item.price}{too_high}")
            return f"{self.item.title}: {'; '.join(lines)}."
        lines = []
        for label, product in self._shown().items():
            lines.append(f"{label} {product.title} {product.price}")
        if not lines:
            return "the search page."
        if "next" in self._labels():
            lines.append("next")
        return "; ".join(lines) + "."

    def _features(self, item: Product) -> str:
        missing = [wanted for wanted in self.wish.attributes if wanted not in item.attributes]
        lacking = "".join(f", no {wanted}" for wanted in missing)
        return f"features: {' '.join(item.attributes)}{lacking}"

    def _clicks_on_results(self, results: list[Product], page: int) -> list[str]:
        """Return the clicks from a page of these results to buying the wanted one among them."""
        target, place = divmod(results.index(self.wish.product), len(PAGE))
        turn = "click next" if target > page else "click prev"
        turns = [turn] * abs(target - page)
        return [*turns, f"click {PAGE[place]}", *self._clicks_on_product(selection={})]

    def _clicks_on_product(self, selection: dict[str, str]) -> list[str]:
        """Return the clicks on the wanted product's page that buy it, given what is selected."""
        clicks = []
        for kind, label in self.wish.options.items():
            if selection.get(kind) != label:
                clicks.append(f"click {label}")
        return [*clicks, "click buy"]


def make_world(option: str) -> Callable[[], Shop]:
    """Return a maker of copies of the world; raises `UserError` for an option, as it has none."""
    if option:
        raise UserError(f"--env shop:{option}: shop takes no option; name it as in --env shop")
    return Shop
