"""Under an ASGI framework, which answers before it raises the exception again."""

import work
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def answer(request):
    """Do what the path names."""
    work.WORK[request.path_params["name"]]()
    return PlainTextResponse("ok")


app = Starlette(routes=[Route("/{name}", answer)])
