"""Works out independently of the plugin how data/alice29.txt is summarised.

Plain Python, written from the README's rules alone and sharing with the plugin only the list of stop words;
run it to print expected.json:

    python3 tests/expected.py > expected.json
"""

import json
import math
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent
STOP = set((HERE / "src" / "stopwords.txt").read_text().split())
ABBREVIATIONS = set("mr mrs ms dr st prof rev hon sr jr vs etc e.g i.e cf fig no vol pp ch capt gen".split())
PART_SIZE, LIMIT, SHORTEST, LONGEST = 4000, 900, 5, 25
# A mark, what closes behind it, a blank, and ahead something that can begin a sentence.
END = re.compile(r"""([.!?])['"’”)\]»]*(\s+)(?=['"`‘“(\[«]*[A-Z0-9])""")


def paragraphs(text):
    """Yields (is_heading, text) for each paragraph with a letter in it."""
    for block in re.split(r"\n\s*\n", text):
        block = block.strip()
        if re.search(r"[A-Za-z]", block):
            bare = re.sub(r"""['"’”)\]»]+$""", "", block)
            yield "\n" not in block and len(block) <= 80 and not re.search(r"[.!?:;,…—-]$", bare), block


def sentences(paragraph):
    found, start = [], 0
    for match in END.finditer(paragraph):
        if match[1] == ".":
            word = re.split(r"""[\s'"`‘“(\[«]""", paragraph[start:match.start()])[-1]
            if word.lower() in ABBREVIATIONS or (re.fullmatch("[A-Z]", word) and word != "I"):
                continue
        found.append(paragraph[start:match.start(2)])
        start = match.end()
    found.append(paragraph[start:])
    return [" ".join(re.sub(r"(?<!-)-\s*\n\s*", "-", s).split()) for s in found if s.strip()]


def parts(text):
    """Lists of paragraphs: a heading begins one, and so does what would make it too long."""
    result, offset, fresh = [], 0, True
    for heading, block in paragraphs(text):
        start = text.index(block, offset)
        offset = start + len(block)
        if heading:
            fresh = True
            continue
        assert len(block) <= PART_SIZE, "no paragraph has to be divided"
        if fresh or offset - result[-1][0] > PART_SIZE:
            result.append([start, []])
        result[-1][1].append(block)
        fresh = False
    return [blocks for _, blocks in result]


def words(sentence):
    found = re.findall(r"[A-Za-z0-9'’]+", sentence)
    found = [w.strip("'’").lower().replace("’", "'") for w in found]
    return [w for w in found if w and w not in STOP]


def rank(sents, damping=0.85, tolerance=1e-6, rounds=200):
    bags = [words(s) for s in sents]
    n = len(sents)

    def likeness(i, j):
        if not all(SHORTEST <= len(bags[k]) <= LONGEST for k in (i, j)):
            return 0.0
        shared = len(set(bags[i]) & set(bags[j]))
        return shared / (math.log(len(bags[i])) + math.log(len(bags[j])))

    graph = {i: {j: w for j in range(n) if j != i and (w := likeness(i, j))} for i in range(n)}
    out = {i: sum(graph[i].values()) for i in graph}
    ranks = {i: 1.0 for i in graph}
    for _ in range(rounds):
        after = {i: 1 - damping + damping * sum(w / out[j] * ranks[j] for j, w in graph[i].items()) for i in graph}
        settled = max((abs(after[i] - ranks[i]) for i in graph), default=0) < tolerance
        ranks = after
        if settled:
            break
    return [ranks[i] for i in range(n)]


def main():
    # Its lines end in CR LF, and both count as characters.
    text = (HERE / "data" / "alice29.txt").read_bytes().decode()
    divided = parts(text)
    total, merged = 0, []
    for blocks in divided:
        found = [s for block in blocks for s in sentences(block)]
        total += len(found)
        ranks = rank(found)
        best = sorted(range(len(found)), key=lambda i: (-ranks[i], i))[: math.ceil(len(found) / 5)]
        merged += [found[i] for i in sorted(best)]
    merged = list(dict.fromkeys(merged))
    kept = len(merged)
    lengths, current, ranks = [], merged, rank(merged)
    while len(" ".join(current)) > LIMIT:
        worst = sorted(range(len(current)), key=lambda i: (ranks[i], -i))
        gone = set()
        for i in worst[: math.ceil(len(current) / 4)]:
            if len(" ".join(s for j, s in enumerate(current) if j not in gone)) <= LIMIT:
                break
            gone.add(i)
        current = [s for i, s in enumerate(current) if i not in gone]
        ranks = [r for i, r in enumerate(ranks) if i not in gone]
        lengths.append(len(" ".join(current)))
    small = [
        "The old cat sat on the mat by the window and watched the garden.",
        "In the garden a small bird sang while the cat watched the window.",
        "The bird flew from the garden wall to the broken roof.",
        "Nobody mended the broken roof of the old house that winter.",
        "The winter garden was white, and the cat stayed in the house by the stove.",
        "The cat slept.",
    ]
    json.dump({
        "limit": LIMIT,
        "parts": len(divided),
        "sentence_count": total,
        "sentences_merged": kept,
        "characters_by_turn": lengths,
        "sentences": current,
        "characters": len(" ".join(current)),
        "small": {"sentences": small, "ranks": [round(r, 6) for r in rank(small)]},
    }, sys.stdout, indent=2, ensure_ascii=False)
    print()


main()
