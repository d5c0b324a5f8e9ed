"""Works out independently of the plugin what data-quality must find and do in data/birdstrikes.csv.

Plain Python and its own implementation of every rule in the README; run it to print expected.json:

    python3 tests/expected.py > expected.json
"""

import collections
import csv
import datetime
import json
import math
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent
MISSING = {"", "na", "n/a", "nan", "null"}


def missing(cell):
    return cell.strip().lower() in MISSING


def fits(kind, cell):
    try:
        if kind == "boolean":
            return cell.strip().lower() in ("true", "false")
        if kind == "integer":
            int(cell)
        elif kind == "number":
            return math.isfinite(float(cell))
        elif kind == "date":
            datetime.datetime.strptime(cell, "%Y-%m-%d")
        return True
    except ValueError:
        return False


def kind_of(values):
    for kind in ("boolean", "integer", "number", "date"):
        if values and sum(fits(kind, v) for v in values) >= 0.95 * len(values):
            return kind
    return "text"


def main():
    with open(HERE / "data" / "birdstrikes.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    total_rows = len(rows)
    columns, checks = {}, []
    for place, name in enumerate(header):
        values = [row[place] for row in rows if not missing(row[place])]
        kind = kind_of(values)
        counts = collections.Counter(values)
        gaps = total_rows - len(values)
        column = {"type": kind, "missing": gaps, "distinct": len(counts), "misfits": sum(not fits(kind, v) for v in values)}
        mode = min((value for value in counts if fits(kind, value)), key=lambda value: (-counts[value], value))
        fill, fences = mode, None
        if kind in ("integer", "number"):
            numbers = sorted(float(v) for v in values if fits("number", v))
            # "inclusive" is Hyndman and Fan's type 7.
            q1, median, q3 = statistics.quantiles(numbers, n=4, method="inclusive")
            if q1 < q3:
                fences = (q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1))
            outside = sum(not fences[0] <= n <= fences[1] for n in numbers) if fences else 0
            column |= {"min": numbers[0], "q1": q1, "median": median, "q3": q3, "max": numbers[-1],
                       "mean": math.fsum(numbers) / len(numbers), "fences": fences, "outliers": outside}
            fill = str(round(median)) if kind == "integer" else repr(median)
        columns[name] = column
        if kind != "text":
            checks.append((f"{name}:type", "misfits", place, lambda c, kind=kind: not missing(c) and not fits(kind, c), lambda c: ""))
        if gaps < 0.5 * total_rows:
            checks.append((f"{name}:not-null", "gaps", place, missing, lambda c, fill=fill: fill))
        if fences:
            low, high = math.ceil(fences[0]), math.floor(fences[1])
            assert kind == "integer", "only whole numbers are capped here"
            checks.append((f"{name}:range", "outliers", place,
                           lambda c, f=fences: not missing(c) and fits("number", c) and not f[0] <= float(c) <= f[1],
                           lambda c, low=low, high=high: str(min(max(int(c), low), high))))
        if kind == "text" and len(counts) <= 20:
            allowed = {value for value, count in counts.items() if count * 1000 >= len(values)}
            match = {value.strip().lower(): value for value in allowed}
            checks.append((f"{name}:allowed", "misfits", place,
                           lambda c, allowed=allowed: not missing(c) and c not in allowed,
                           lambda c, match=match: match.get(c.strip().lower(), "")))

    def duplicates():
        return len(rows) - len({tuple(row) for row in rows})

    def anomalies():
        found = {"rows:unique": duplicates()}
        for name, _, place, broken, _ in checks:
            found[name] = sum(broken(row[place]) for row in rows)
        return {name: count for name, count in found.items() if count}

    found = left = anomalies()
    repairs = []
    while left:
        broken_kinds = {kind for name, kind, *_ in checks if name in left}
        if "rows:unique" in left:
            kind = "duplicates"
            kept = list(dict.fromkeys(tuple(row) for row in rows))
            changed = len(rows) - len(kept)
            rows = [list(row) for row in kept]
        else:
            kind = next(k for k in ("misfits", "gaps", "outliers") if k in broken_kinds)
            changed = 0
            for _, of, place, broken, mend in checks:
                for row in rows:
                    if of == kind and broken(row[place]):
                        row[place] = mend(row[place])
                        changed += 1
        repairs.append({"kind": kind, "changed": changed})
        left = anomalies()

    json.dump({
        "rows_before": total_rows,
        "columns": columns,
        "found": found,
        "anomalies_before": sum(found.values()),
        "repairs": repairs,
        "rows": len(rows),
        "anomalies_after": sum(left.values()),
        "mean_speed_after": math.fsum(float(row[-1]) for row in rows) / len(rows),
    }, sys.stdout, indent=2)
    print()


main()
