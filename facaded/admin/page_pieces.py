"""Pieces of the status page: times, states, tables."""

from collections.abc import Iterable, Sequence

from attrs import frozen

from facaded.admin.printed_times import PrintedTimes
from facaded.admin.utc_times import age, clock_time, iso
from facaded.web.markup import Content, Html, element

SIGNS = {"up": "●", "degraded": "▲", "limited": "▲", "down": "■", "unknown": "○", "not used": "○"}
"""A shape for each state, because colours alone tell some people nothing."""

SEVERITY_SIGNS = {"error": "■", "warning": "▲", "notice": "●", "info": "○"}
"""A shape for each severity of a change."""

LEVEL_SIGNS = {"green": "✓", "amber": "!", "red": "✕"}
"""A sign for each level of the headline."""

ABSENT = "\N{EN DASH}"
"""Stands for a figure that there is not."""


@frozen
class UtcTimes(PrintedTimes):
    """Times in the sentences of the status, for a page that many people look at."""

    def date(self, seconds: float) -> str:
        """Return a time in UTC."""
        return clock_time(seconds, self.now if self.now is not None else seconds)


def time_element(seconds: float, now: float) -> Html:
    """Return a time as an element that programs can read too."""
    return element("time", clock_time(seconds, now), datetime=iso(seconds))


def time_with_age(seconds: float, now: float) -> Content:
    """Return a time, and how long ago it is or how long it takes until then."""
    distance = f"in {age(seconds - now)}" if seconds > now else f"{age(now - seconds)} ago"
    return time_element(seconds, now), " ", element("span", f"({distance})", class_="age")


def sign(shape: str) -> Html:
    """Return a shape that says the same as the word beside it."""
    return element("span", shape, class_="sign", aria_hidden="true")


def state_badge(state: str) -> Html:
    """Return the state of a backend as a shape and a word."""
    return element("span", sign(SIGNS.get(state, "○")), " ", state, class_=f"state {_class(state)}")


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Content]], class_: str = "") -> Html:
    """Return a table whose first cells are the headers of their rows. Columns that end with `#` have numbers."""
    names = [column.removesuffix("#") for column in columns]
    numeric = [column.endswith("#") for column in columns]
    head = [
        element("th", name, scope="col", class_="number" if is_number else False)
        for name, is_number in zip(names, numeric, strict=True)
    ]
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            [
                element("td", cell, class_="number" if is_number else False)
                for cell, is_number in zip(row[1:], numeric[1:], strict=True)
            ],
        )
        for row in rows
    ]
    parts = element("caption", caption), element("thead", element("tr", head)), element("tbody", body)
    return element("table", *parts, class_=class_ or False)


def definitions(pairs: Iterable[tuple[str, Content]]) -> Html:
    """Return a list of facts, each with its name."""
    return element("dl", [element("div", element("dt", name), element("dd", value)) for name, value in pairs])


def bullets(sentences: Iterable[Content], class_: str = "notes") -> Content:
    """Return sentences as a list; nothing without any."""
    items = [element("li", sentence) for sentence in sentences]
    return element("ul", items, class_=class_) if items else ()


def section(title: str, *contents: Content, class_: str = "") -> Html:
    """Return a section of the page."""
    name = title.partition(",")[0].lower().replace(" ", "-")
    heading = element("h2", title, id=name)
    return element("section", heading, *contents, aria_labelledby=name, class_=class_ or False)


def nothing(sentence: str) -> Html:
    """Return a sentence in place of what is not there."""
    return element("p", sentence, class_="nothing")


def milliseconds(seconds: float) -> str:
    """Return a duration in milliseconds."""
    return f"{seconds * 1000:,.0f} ms"


def rate(per_second: float) -> str:
    """Return a rate with as many digits as it needs."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


def _class(state: str) -> str:
    return state.replace(" ", "-") if state in SIGNS else "unknown"
