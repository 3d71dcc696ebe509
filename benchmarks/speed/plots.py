"""Plots, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from figures import Row
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter

mpl.use("Agg")  # there is no screen


def latency(path: Path, title: str, x_label: str, curves: Mapping[str, Sequence[tuple[float, Row]]]) -> None:
    """The p50, p95 and p99 (ms) of each curve against its first numbers, a panel for each, both axes logarithmic."""
    picture, panels = plt.subplots(
        1, len(curves), figsize=(5 * len(curves), 4.5), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, (name, points) in zip(panels[0], curves.items(), strict=True):
        for quantile in ("p50", "p95", "p99"):
            values = [getattr(row, quantile) for _, row in points]
            panel.plot([x for x, _ in points], values, marker="o", label=quantile)
        panel.set(title=name, xlabel=x_label, xscale="log", yscale="log")
        panel.set_xticks([x for x, _ in points], minor=False)
        panel.set_xticks([], minor=True)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        panel.tick_params(axis="x", labelrotation=30)
        panel.grid(visible=True, which="major", alpha=0.4)
    panels[0][0].set_ylabel("latency, ms")
    panels[0][0].legend()
    picture.suptitle(title)
    picture.savefig(path, dpi=120)
    plt.close(picture)
