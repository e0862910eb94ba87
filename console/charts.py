"""Small charts as inline SVG, drawn here: no script, no style attribute, colours by class. Each says in words what it shows."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 240, 40


def bars(values: Sequence[float], label: str) -> Markup:
    """A bar a value, the newest on the right; above nothing a bar is never so low that it cannot be seen."""
    most = max(values, default=0)
    step = WIDTH / max(1, len(values))
    shapes = []
    for index, value in enumerate(values):
        if value > 0:
            height = max(2.0, value / most * (HEIGHT - 2))
            shapes.append(
                f'<rect x="{index * step:.1f}" y="{HEIGHT - 1 - height:.1f}" width="{max(1.0, step - 1):.1f}" height="{height:.1f}"/>'
            )
    return _chart("bars", label, "".join(shapes))


def line(values: Sequence[float], label: str) -> Markup:
    """An area under a line; one value alone is drawn level."""
    most = max(values, default=0)
    shown = [*values, *values] if len(values) == 1 else list(values)
    if most <= 0 or not shown:
        return _chart("line", label, "")
    step = WIDTH / (len(shown) - 1)
    points = [f"{i * step:.1f},{HEIGHT - 1 - value / most * (HEIGHT - 4):.1f}" for i, value in enumerate(shown)]
    area = f'<polygon points="0,{HEIGHT - 1} {" ".join(points)} {WIDTH},{HEIGHT - 1}"/>'
    return _chart("line", label, f'{area}<polyline points="{" ".join(points)}"/>')


def _chart(kind: str, label: str, shapes: str) -> Markup:
    """`label` is escaped; `shapes` are numbers of ours."""
    base = f'<line class="base" x1="0" y1="{HEIGHT - 0.5}" x2="{WIDTH}" y2="{HEIGHT - 0.5}"/>'
    return Markup(
        '<svg class="chart {}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>'
    ).format(kind, WIDTH, HEIGHT, label, Markup(base), Markup(shapes))  # noqa: S704
