"""The charts of README.md, as SVG: one bar a row, Listwire's in colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "charts"
OURS_ALONE = {"growth", "scaling"}
OURS, THEIRS, INK = "#0a7d5a", "#b9c0c7", "#22272e"
# Part → (key, title) of each panel.
PANELS = {
    "drain": (("rate", "events a second, draining"), ("cpu_us", "CPU µs an event")),
    "latency": (("p50", "p50 ms at 500 a second"), ("p99", "p99 ms"), ("core", "% of a core")),
    "ingress": (("rate", "durable requests a second"), ("p99", "p99 ms, 64 connections")),
    "capacity": (("rate", "durable requests a second, 256 connections"), ("cpu_us", "CPU µs a request")),
    "takeover": (
        ("gap", "seconds that an event waits after a SIGKILL"),
        ("start", "seconds from start to first event"),
    ),
    "growth": (("rate", "events a second, as work grows"), ("cpu_us", "CPU µs an event")),
    "scaling": (("rate", "events a second"),),
    "outage": (("rss_mb", "MB resident while the sink is down"),),
}


def draw(part: str, rows: list[dict[str, Any]]) -> bool:
    """False where the part has no chart."""
    if part not in PANELS:
        return False
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {"svg.hashsalt": "listwire", "svg.fonttype": "none", "font.family": "sans-serif", "text.color": INK}
    )
    from matplotlib import pyplot as plt

    panels = PANELS[part]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.2 * len(panels) + 1.6, 0.42 * len(rows) + 0.9), sharey=True, squeeze=False
    )
    names = [row["name"] for row in reversed(rows)]
    for axis, (key, title) in zip(axes[0], panels, strict=True):
        values = [row[key] for row in reversed(rows)]
        bars = axis.barh(
            names,
            values,
            color=[OURS if part in OURS_ALONE or name.startswith("Listwire") else THEIRS for name in names],
            height=0.66,
        )
        axis.bar_label(bars, [f"{value:,.0f}".replace(",", "\u202f") for value in values], padding=4, fontsize=9)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlim(0, max([*values, 1e-9]) * 1.22)
        axis.xaxis.set_visible(False)
        axis.tick_params(length=0, labelsize=9)
        for spine in axis.spines.values():
            spine.set_visible(False)
    figure.tight_layout()
    HERE.mkdir(exist_ok=True)
    figure.savefig(HERE / f"{part}.svg", metadata={"Date": None}, transparent=False)
    plt.close(figure)
    return True
