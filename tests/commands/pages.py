"""Read what a page of the documentation shows: sections, blocks of code and tables."""

import re

from tests.servers.staging import REPOSITORY


def page(name: str) -> str:
    """Return the text of a page."""
    return (REPOSITORY / name).read_text()


def section(text: str, title: str) -> str:
    """Return the text below a headline, up to the next headline; code may have `#`."""
    block, line = r"```[\s\S]*?^```\n", r"(?!#|```).*\n"
    (found,) = re.findall(rf"^#+ {title}\n((?:{block}|{line})*)", text, re.MULTILINE)
    return str(found)


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def files(text: str) -> dict[str, str]:
    """Return the blocks of code that begin with the path of a file: path -> content."""
    found = re.findall(r"^```\w+\n(# (\S+)\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return {path: content for content, path in found}


def commands(text: str) -> list[str]:
    """Return the commands after a prompt, in all blocks of the console."""
    return re.findall(r"^\$ (.*)$", "".join(blocks(text, "console")), re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of a text's tables, without the heads."""
    found = []
    lines = text.splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|") and not set(line) <= set("|-") and "|---" not in below:
            found.append(line.strip("| ").split(" | "))
    return found


def first_cells(text: str) -> str:
    """Return the first cells of all rows of a text's tables, one per line."""
    return "\n".join(cells[0] for cells in rows(text))


def code(cell: str) -> list[str]:
    """Return the texts between backticks."""
    return re.findall(r"`(.+?)`", cell)
