"""The explorer as an ASGI application: which address answers what. It reads checkpoints, and writes nothing."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from statedict.errors import PatternError, StatedictError
from statedict.web.comparison import Pair
from statedict.web.drawing import drawn
from statedict.web.jobs import Job
from statedict.web.side import Side
from statedict.web.static import content, names

_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MOST_BODY = 4 << 20
_MEANT = (StatedictError, OSError, TypeError, ValueError, IndexError)


def application(sides: Sequence[Side]) -> Starlette:
    """The explorer of one checkpoint or two."""
    return _Explorer(sides).application()


class _Explorer:
    """What is asked about one or two checkpoints, and what runs in the background for them."""

    def __init__(self, sides: Sequence[Side]) -> None:
        self._sides = tuple(sides)
        self._pair = Pair(*self._sides) if len(self._sides) == 2 else None
        self._jobs: dict[str, Job[dict[str, Any]]] = {
            f"figures{at}": Job(side.all_figures) for at, side in enumerate(self._sides)
        }
        if self._pair is not None:
            self._jobs |= {"diff": Job(self._pair.diff), "match": Job(self._pair.match)}

    def application(self) -> Starlette:
        answers: dict[str, Callable[[Request], Any]] = {
            "facts": lambda request: self._side(request).facts(_number(request, "at")),
            "statistics": lambda request: self._side(request).statistics(_number(request, "at")),
            "spectrum": lambda request: self._side(request).spectrum(_number(request, "at")),
            "row": lambda request: self._side(request).row(_number(request, "at"), _number(request, "index")),
            "filters": lambda request: self._side(request).filters(
                _number(request, "at"), _number(request, "first", 0), _number(request, "channel", 0)
            ),
            "job": self._job,
        }
        routes = [Route(f"/api/{name}", _answering(answer)) for name, answer in answers.items()]
        routes += [
            Route("/", _page),
            Route("/api/model", self._model),
            Route("/api/tile", self._tile),
            Route("/api/rules", self._rules, methods=["POST"]),
            Route("/api/begin", self._begin, methods=["POST"]),
            Route("/api/stop", self._stop, methods=["POST"]),
            Route("/{name}", _file),
        ]
        return Starlette(routes=routes)

    async def _model(self, request: Request) -> Response:
        try:
            encoded = await run_in_threadpool(self._side(request).encoded)
        except PatternError as error:
            return _refused(error)
        begin = f'{{"sides":{len(self._sides)},'.encode()
        return Response(begin + encoded.removeprefix(b"{"), media_type="application/json")

    def _side(self, request: Request) -> Side:
        at = _number(request, "side", 0)
        if not 0 <= at < len(self._sides):
            raise PatternError(f"there is no side {at}")
        return self._sides[at]

    def _named_job(self, request: Request) -> Job[dict[str, Any]]:
        name = request.query_params.get("name", "")
        if name not in self._jobs:
            raise PatternError(f"there is no job `{name}`; expected one of {', '.join(self._jobs)}")
        return self._jobs[name]

    def _job(self, request: Request) -> dict[str, Any]:
        job = self._named_job(request)
        fields = job.fields()
        return fields | ({"result": job.result} if fields["state"] == "done" else {})

    async def _begin(self, request: Request) -> Response:
        return await _answered(lambda: _fields_after(self._named_job(request), Job[dict[str, Any]].begin))

    async def _stop(self, request: Request) -> Response:
        return await _answered(lambda: _fields_after(self._named_job(request), Job[dict[str, Any]].stop))

    async def _tile(self, request: Request) -> Response:
        try:
            tile = await run_in_threadpool(drawn, self._sides, request.query_params)
        except Exception as error:  # noqa: BLE001 - told on the page
            return _refused(error)
        return Response(tile.data, media_type="application/octet-stream", headers={"x-tile": json.dumps(tile.about)})

    async def _rules(self, request: Request) -> Response:
        pair = self._pair
        if pair is None:
            return _refused(PatternError("there is only one checkpoint: nothing to match"))
        if int(request.headers.get("content-length") or _MOST_BODY) >= _MOST_BODY:
            return _refused(PatternError("these are more rules than a page has"))
        try:
            rows = json.loads(await request.body())
        except ValueError as error:
            return _refused(error)
        return await _answered(lambda: pair.revised(rows))


def _fields_after(job: Job[dict[str, Any]], do: Callable[[Job[dict[str, Any]]], None]) -> dict[str, Any]:
    do(job)
    return job.fields()


def _answering(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await _answered(lambda: answer(request))

    return endpoint


async def _answered(answer: Callable[[], Any]) -> Response:
    """What a function returns, as JSON; found in another thread, since it may read."""
    try:
        return Response(await run_in_threadpool(_encoded, answer), media_type="application/json")
    except Exception as error:  # noqa: BLE001 - told on the page
        return _refused(error)


def _encoded(answer: Callable[[], Any]) -> bytes:
    return json.dumps(answer(), allow_nan=False, separators=(",", ":")).encode()


def _refused(error: Exception) -> Response:
    """What is wrong, in words; of an error that nobody meant to raise, that it is a bug of ours."""
    if isinstance(error, _MEANT):
        return JSONResponse({"error": str(error) or type(error).__name__}, 400)
    return JSONResponse({"error": f"this is a bug in statedict: {type(error).__name__}: {error}"}, 500)


def _number(request: Request, name: str, otherwise: int | None = None) -> int:
    given = request.query_params.get(name)
    if given is None and otherwise is not None:
        return otherwise
    try:
        return int(given or "")
    except ValueError:
        raise PatternError(f"`{name}` is `{given}`; expected a whole number") from None


async def _page(request: Request) -> Response:
    return Response(content("index.html"), media_type="text/html; charset=utf-8")


async def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in names():
        return Response(status_code=404)
    suffix = name[name.rfind(".") :]
    return Response(content(name), media_type=_TYPES.get(suffix, "application/octet-stream") + "; charset=utf-8")
