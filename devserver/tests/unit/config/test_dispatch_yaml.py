"""What the server reads in dispatch.yaml, and how it reports a mistake."""

from pathlib import Path

import pytest

from gae_devserver.config.dispatch_yaml import Dispatch, load_dispatch_yaml
from gae_devserver.config.parsing import ConfigError


def read(folder: Path, text: str) -> Dispatch:
    """Write the file, and read it for a server with two services."""
    path = folder / "dispatch.yaml"
    path.write_text(text)
    return load_dispatch_yaml(path, {"default": None, "worker": None})


def of_rules(*urls: str) -> str:
    """Return the text with these patterns, each on its own line."""
    rules = (f"- {{url: '{url}', service: worker}}\n" for url in urls)
    return f"dispatch:\n{''.join(rules)}"


@pytest.mark.parametrize("text", [None, "dispatch:\n", "dispatch: []\n"])
def test_no_rules(tmp_path: Path, text: str | None) -> None:
    """There are none without the file, and with an empty list."""
    if text is None:
        assert load_dispatch_yaml(tmp_path / "dispatch.yaml", {}) == Dispatch()
    else:
        assert read(tmp_path, text) == Dispatch()


@pytest.mark.parametrize(
    ("url", "matching", "others"),
    [
        ("*/a/*", ["b.test/a/", "b.test/a/b"], ["b.test/a", "b.test/b/a/"]),
        ("*/a*", ["b.test/a", "b.test/ab"], ["b.test/"]),
        ("*/a", ["b.test/a"], ["b.test/a/", "b.test/A"]),
        ("b.test/*", ["b.test/", "B.Test/a"], ["a.b.test/", "b.tests/"]),
        ("*.b.test/*", ["a.b.test/", "c.a.b.test/a"], ["b.test/"]),
        (f"{'b' * 60}/*", [f"{'b' * 60}/"], ["b/"]),
        ("*b.test/", ["b.test/", "ab.test/", "a.b.test/"], ["b.test/a"]),
    ],
)
def test_a_rule(
    tmp_path: Path, url: str, matching: list[str], others: list[str]
) -> None:
    """A * stands for any beginning of the host, or any end of the path."""
    found = read(tmp_path, of_rules(url))
    assert found.warnings == ()
    (rule,) = found.rules
    for text in (*matching, *others):
        host, path = text[: text.index("/")], text[text.index("/") :]
        assert rule.matches(host, path) is (text in matching)


@pytest.mark.parametrize(
    ("text", "line", "facts"),
    [
        ("- url: '*/a'\n", 1, ["'dispatch:'"]),
        ("dispatch:\n  url: '*/a'\n", 1, ["list"]),
        ("dispatch:\n- urls: '*/a'\n", 2, ["'urls'", "'url'?"]),
        ("dispatch:\n- url: '*/a'\n", 2, ["'service'"]),
        ("dispatch:\n- service: worker\n", 2, ["'url'"]),
        ("dispatch:\n- url: */a\n  service: a\n", 2, ["quotes"]),
        ("dispatch:\n- url: '*/a'\n  service: A_b\n", 3, ["'A_b'", "'service: a-b'"]),
        (
            "dispatch:\n- url: '*/a'\n  service: a\n  module: a\n",
            4,
            ["'module'", "'service'"],
        ),
        (of_rules("*/a", "b.test"), 3, ["'b.test'", "'url: b.test/*'"]),
        (of_rules("/a"), 2, ["'/a'", "'url: \"*/a\"'"]),
        (of_rules("https://B.test:80/a"), 2, ["'url: b.test/a'"]),
        (of_rules("a*.test/"), 2, ["'a*.test/'", '"*/worker/*"']),
        (of_rules("*/a/*/b"), 2, ["'*/a/*/b'"]),
        (of_rules(f"{'a' * 40}_b.test/"), 2, ["a_b.test/'"]),
        (of_rules("127.0.0.1/a"), 2, ["'127.0.0.1/a'", "'url: \"*/a\"'"]),
    ],
)
def test_a_mistake(tmp_path: Path, text: str, line: int, facts: list[str]) -> None:
    """The message has the file, the line, the value and what to write."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    for fact in (f"dispatch.yaml, line {line}: ", *facts):
        assert fact in str(caught.value)


def test_an_empty_file(tmp_path: Path) -> None:
    """The server refuses it, as gcloud does."""
    with pytest.raises(ConfigError, match=r"dispatch\.yaml: "):
        read(tmp_path, "# nothing\n")


@pytest.mark.parametrize(
    ("text", "line", "fact"),
    [
        ("application: a\ndispatch: []\n", 1, "--project"),
        ("dispatch:\n- url: '*/a'\n  module: worker\n", 3, "'service'"),
        (of_rules(*(f"*/{number}" for number in range(21))), 22, " 20"),
        (of_rules(f"*/{'a' * 100}"), 2, " 100"),
        (of_rules(f"*{'a' * 100}/"), 2, " 100"),
        (of_rules("a-dot-b.test/*"), 2, "'a.b.test/*'"),
        (of_rules("*/_ah/queue/*"), 2, "/_ah/"),
        ("dispatch:\n- url: '*/_ah/a'\n  service: gone\n", 2, "/_ah/"),
        (of_rules("*/a?b=1"), 2, "?"),
        (of_rules("b.test/a*", "*/a", "b.test/ab"), 4, "line 2"),
        (of_rules("*.test/a/*", "b.test/a/*", "*/a/*"), 3, "line 2"),
        (of_rules("*/a", "*/a*", "b.test/*"), None, ""),
    ],
)
def test_a_warning(tmp_path: Path, text: str, line: int | None, fact: str) -> None:
    """A rule that never matches, and what App Engine refuses."""
    warnings = read(tmp_path, text).warnings
    assert len(warnings) == (line is not None)
    for warning in warnings:
        assert f"dispatch.yaml, line {line}: " in warning
        assert fact in warning
