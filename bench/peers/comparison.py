"""From seconds of rounds to the table: ratios, bars, text, JSON. Pure; standard library alone.

A measure is {"seconds": [...], "trainer_seconds": [...]}, one entry a round: the hand-over, and what the trainer did for it
before (a snapshot, digests). Measures of one section were taken in the same rounds, so that ratios are formed round by
round: peer / ours, above 1 where ours is faster; and limit / measured, the share of what the machine can do.
"""
import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    id: str
    peer: str                      # what it is called in the table
    peer_measure: str
    our_measure: str
    limit: str = ""                # of wsync bench limits; measured as "limit.NAME"
    same_work: bool = True         # does the peer end where ours ends: every byte in the receiver's own memory, or durable
    leaves_out: tuple = ()
    note: str = ""


@dataclass(frozen=True)
class Bar:
    id: str
    what: str
    least: float
    rows: tuple                    # ids; the fastest of these peers is the one that has to be beaten


@dataclass
class Section:
    id: str
    title: str
    rows: list
    model: dict = field(default_factory=dict)       # name, bytes, tensors
    measures: dict = field(default_factory=dict)
    facts: dict = field(default_factory=dict)       # what else the run found out: the congestion control in use


def spread(values):
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratios(peer, ours):
    """Round by round; both lists are of the same rounds."""
    if len(peer) != len(ours):
        raise ValueError(f"{len(peer)} rounds of the peer beside {len(ours)} of ours")
    return [theirs / mine for theirs, mine in zip(peer, ours)]


def with_trainer(measure):
    return [a + b for a, b in zip(measure["seconds"], measure["trainer_seconds"])]


def compare(section):
    """The section's rows as the document has them."""
    result = []
    for row in section.rows:
        if row.peer_measure not in section.measures or row.our_measure not in section.measures:
            continue
        peer, ours = section.measures[row.peer_measure], section.measures[row.our_measure]
        by_round = ratios(peer["seconds"], ours["seconds"])
        limit = section.measures.get(f"limit.{row.limit}")
        shares = [spread(ratios(limit["seconds"], measure["seconds"])) if limit else None for measure in (peer, ours)]
        result.append({
            "id": row.id, "peer": row.peer, "ours": row.our_measure, "same_work": row.same_work,
            "peer_seconds": spread(peer["seconds"]), "our_seconds": spread(ours["seconds"]),
            "ratio": spread(by_round), "ratios": by_round,
            "ratio_with_trainer": spread(ratios(with_trainer(peer), with_trainer(ours))),
            "limit": row.limit if limit else None, "peer_share": shares[0], "our_share": shares[1],
            "faster": statistics.median(by_round) > 1, "leaves_out": list(row.leaves_out), "note": row.note,
        })
    return result


def judge(bars, rows):
    """Each bar against the peer that comes closest; bars none of whose rows were measured are left out."""
    result = []
    for bar in bars:
        measured = [row for row in rows if row["id"] in bar.rows]
        if not measured:
            continue
        closest = min(measured, key=lambda row: row["ratio"]["median"])
        ratio = closest["ratio"]
        result.append({"id": bar.id, "what": bar.what, "least": bar.least, "row": closest["id"], "peer": closest["peer"],
                       "ratio": ratio, "limit": closest["limit"], "peer_share": closest["peer_share"],
                       "pass": ratio["median"] >= bar.least})
    return result


def show_seconds(seconds):
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def show_ratio(ratio):
    def short(value):
        return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{short(ratio['median'])} [{short(ratio['min'])} .. {short(ratio['max'])}]"


def show_share(row, which):
    return f"{row[which]['median'] * 100:.0f} % {row['limit']}" if row["limit"] else "-"


def lay_out(lines, aligned_right=()):
    """Columns of cells, as wide as they need to be."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(widths[i]) if i in aligned_right else cell.ljust(widths[i]) for i, cell in enumerate(line)).rstrip()
                     for line in lines)


def table(document):
    """The document as people read it."""
    head = ["peer", "peer's time", "of limit", "ours", "of limit", "method", "times as fast", "with the trainer's part", "what the peer leaves out"]
    parts = [document["machine"]]
    for section in document["sections"]:
        model = section["model"]
        lines = [head] + [[row["peer"] + ("" if row["same_work"] else " (*)"), show_seconds(row["peer_seconds"]["median"]), show_share(row, "peer_share"),
                           show_seconds(row["our_seconds"]["median"]), show_share(row, "our_share"), row["ours"], show_ratio(row["ratio"]),
                           f"{row['ratio_with_trainer']['median']:.2f}", ", ".join(row["leaves_out"])] for row in section["rows"]]
        parts.append(f"{section['title']} · {model['name']}, {model['tensors']} tensors, {model['bytes'] / 1e6:.0f} MB, median of {section['rounds']} rounds\n"
                     + lay_out(lines, aligned_right=(1, 2, 3, 4)))
    if any(not row["same_work"] for section in document["sections"] for row in section["rows"]):
        parts.append("(*) stops earlier than ours: the notes in the JSON say where")
    bars = [["bar", "at least", "measured", "", "against, which reaches of the limit"]]
    bars += [[bar["what"], f"{bar['least']:.2f}", show_ratio(bar["ratio"]), "pass" if bar["pass"] else "FAIL",
              bar["peer"] + (f": {show_share(bar, 'peer_share')}" if bar["limit"] else "")] for bar in document["bars"]]
    if len(bars) > 1:
        parts.append(lay_out(bars, aligned_right=(1,)))
    slower = [row["peer"] for section in document["sections"] for row in section["rows"] if row["same_work"] and not row["faster"]]
    parts.append("wsync is faster on every row that does the same work" if not slower else "wsync is not faster than: " + ", ".join(slower))
    return "\n\n".join(parts)
