"""The HTML of the login page, and of answers that refuse a request."""

from html import escape

from aiohttp import web

from gae_devserver.users.user import User

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }}
body {{ box-sizing: border-box; max-width: 24rem; margin: 2rem auto; padding: 0 1rem;
        overflow-wrap: anywhere }}
input, button {{ font: inherit }}
[type=email] {{ box-sizing: border-box; width: 100%; padding: .3rem }}
[role=alert] {{ font-weight: bold }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""
_FORM = """\
<form method="post" action="{login}">
<input type="hidden" name="continue" value="{destination}">
<p><label for="email">E-mail</label>
<input type="email" id="email" name="email" value="{email}" required autofocus></p>
<p><input type="checkbox" id="admin" name="admin" value="True"{checked}>
<label for="admin">Administrator of the app</label></p>
<p><button>Sign in</button>{sign_out}</p>
</form>"""
_SIGN_OUT = ' <button formaction="{logout}" formnovalidate>Sign out</button>'
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    ),
}


def answer(status: int, title: str, *content: str) -> web.Response:
    """Return a page with content in HTML."""
    text = _PAGE.format(title=escape(title), content="\n".join(content))
    return web.Response(
        status=status, text=text, content_type="text/html", headers=_HEADERS
    )


def paragraph(text: str, *, role: str = "") -> str:
    """Return a paragraph with a plain text."""
    attribute = f' role="{role}"' if role else ""
    return f"<p{attribute}>{escape(text)}</p>"


def link(url: str, text: str) -> str:
    """Return a paragraph that is a link."""
    return f'<p><a href="{escape(url)}">{escape(text)}</a></p>'


def login_form(
    user: User | None, destination: str, *, login: str, logout: str, fault: str = ""
) -> web.Response:
    """Return the login page."""
    form = _FORM.format(
        login=login,
        destination=escape(destination),
        email=escape(user.email if user else "test@example.com"),
        checked=" checked" if user and user.is_admin else "",
        sign_out=_SIGN_OUT.format(logout=logout) if user else "",
    )
    content = [paragraph(fault, role="alert"), form] if fault else [form]
    if user is not None:
        role = ", an administrator" if user.is_admin else ""
        content.insert(0, paragraph(f"You are signed in as {user.email}{role}."))
    note = "Any address works on this development server, without a password."
    return answer(400 if fault else 200, "Sign in", *content, paragraph(note))
