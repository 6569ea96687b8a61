"""What a model that was not taught here is told of the benchmarks, ours and AgentGym's servers'.

Each manual says what there is to do, names the actions where the instruction does not, and shows
the beginning of an example.  Its lines that begin with `Thought:` are left out where nobody is to
think.
"""

from __future__ import annotations

TEXTCRAFT = """\
Craft the goal. A command says what it needs: get what no command makes, craft the rest first, and
use the very names and amounts of the command.
An example:
Goal: craft polished blackstone button.
Crafting commands:
craft 4 polished blackstone using 4 blackstone
craft 1 polished blackstone button using 1 polished blackstone
Thought: The button needs 1 polished blackstone, and that needs 4 blackstone, which I can get.
Action: get 4 blackstone
Got 4 blackstone
Thought: Now I can craft the polished blackstone.
Action: craft 4 polished blackstone using 4 blackstone
"""

SCIENCEWORLD = """\
Do an experiment in a house of ten rooms. A room shows what is in it; doors must be opened, and
containers too. To focus is how you show the thing that the task asks for: focus on the wrong one
and you have lost.
The actions: look around, look at OBJ, look in OBJ, open OBJ, close OBJ, go to PLACE, pick up OBJ,
put down OBJ, move OBJ to OBJ, focus on OBJ, activate OBJ, deactivate OBJ, use OBJ, use OBJ on OBJ,
pour OBJ into OBJ, dunk OBJ into OBJ, mix OBJ, connect OBJ to OBJ, disconnect OBJ, read OBJ,
eat OBJ, flush OBJ, inventory, task, wait1.
An example:
Your task is to find a(n) animal. First, focus on the thing. Then, move it to the red box.
This room is called the hallway. You also see: A door to the kitchen (that is closed)
Thought: There is no animal here, so I look elsewhere. The door must be opened first.
Action: open door to kitchen
The door is now open.
Thought: Now I can go there.
Action: go to kitchen
"""

WEBSHOP = """\
Buy what the instruction asks for: its kind, its options, its features, and no dearer than it says.
search[WORDS] works on a page with a search bar only; click[BUTTON] takes a button that the page
shows: a product's number, an option, Next >, < Prev, Back to Search, Buy Now. Nothing counts until
you click Buy Now.
An example:
Instruction: [SEP] i need a red cotton shirt in size large, under 30 dollars [SEP] Search
Thought: I search for the main words.
Action: search[red cotton shirt large]
Back to Search [SEP] Page 1 [SEP] Next > [SEP] B07ABCDE12 [SEP] Cotton Shirt [SEP] $19.99
Thought: The first one fits, so I open it to choose the options.
Action: click[B07ABCDE12]
"""

ALFWORLD = """\
Do a task in a household. Places and things have numbers, as in drawer 2. You see what is at a place
once you have gone there; some have to be opened. You hold one thing at a time. Where available
actions are listed, take one of them, word for word.
An example:
You see a cabinet 1, a countertop 1, a garbagecan 1. Your task is to: put some mug in garbagecan.
Thought: A mug may stand on the countertop.
Action: go to countertop 1
On the countertop 1, you see a mug 1.
Thought: There it is, and I take it.
Action: take mug 1 from countertop 1
"""

BABYAI = """\
Reach a goal in a grid of rooms. You see what lies before you, its number and how far it is; turn to
see the rest, and go through doors to other rooms. Only what you see can be gone to, and only what
stands right before you can be picked up or toggled.
An example:
Your goal: go to the red ball. There is a wall 3 steps in front of you.
Thought: I see no red ball, so I turn.
Action: turn right
There is a red ball 1 2 steps in front of you.
Thought: There it is.
Action: go to red ball 1
"""

# By the kind of an AgentGym server.
MANUALS = {
    "textcraft": TEXTCRAFT,
    "sciworld": SCIENCEWORLD,
    "webshop": WEBSHOP,
    "alfworld": ALFWORLD,
    "babyai": BABYAI,
}
