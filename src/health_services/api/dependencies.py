"""What endpoints are given: the request's session, the present instant, the usual language, a page."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.api.fields import AnswerShape, CursorInUrl, LimitInUrl, SkipInUrl
from health_services.errors import ValidationException
from health_services.freshness.answers import Keeping
from health_services.pagination import MAX_LIMIT, Page, read_cursor, write_cursor

T = TypeVar("T")


async def current_session(request: Request) -> AsyncSession:
    """The session that the route opened for this request; its transaction ends before the answer goes out."""
    session: AsyncSession = request.state.session
    return session


async def current_instant() -> datetime:
    """Now, in UTC: the only place where a request looks at the clock."""
    return datetime.now(UTC)


async def default_locale(request: Request) -> str:
    """The language of those who have chosen none."""
    locale: str = request.app.state.settings.default_locale
    return locale


async def current_keeping(request: Request) -> Keeping:
    """What is to be said of an answer that may be given again."""
    keeping: Keeping = request.scope["state"].get("keeping") or Keeping()
    return keeping


class Listing:
    """One page of a list in the order of `keys`: what is asked for, and how it is answered."""

    def __init__(self, request: Request, response: Response, page: Page, keys: Sequence[str]) -> None:
        self.page = page
        self._request = request
        self._response = response
        self._keys = keys

    def answer(self, rows: Sequence[T]) -> Sequence[T]:
        """The page of the rows that were read; the next one is named in the Link header (RFC 8288) if there is one."""
        shown, has_more = self.page.cut(rows)
        if has_more:
            self._response.headers["Link"] = self._next(shown[-1])
        return shown

    def of_json(self, rows: Sequence[str], shape: type[AnswerShape]) -> Response:
        """The same of rows that are JSON of this shape already: for the longest lists."""
        shown, has_more = self.page.cut(rows)
        headers = {"Link": self._next(shape.model_validate_json(shown[-1]))} if has_more else None
        return Response(f"[{','.join(shown)}]", headers=headers, media_type="application/json")

    def _next(self, last: object) -> str:
        cursor = write_cursor(tuple(getattr(last, key) for key in self._keys))
        others = [(k, v) for k, v in parse_qsl(self._request.url.query) if k not in {"skip", "limit", "cursor"}]
        query = urlencode([*others, ("cursor", cursor), ("limit", self.page.limit)])
        return f'<{self._request.url.path}?{query}>; rel="next"'


def listed_by(*keys: str) -> Any:
    """What an endpoint depends on for a list in the order of these attributes of its rows: instants, then the id."""

    async def listing(
        request: Request,
        response: Response,
        skip: Annotated[SkipInUrl, Query(description="rows to leave out; a `cursor` costs less")] = 0,
        limit: Annotated[LimitInUrl, Query(description="rows to answer at most")] = MAX_LIMIT,
        cursor: Annotated[
            CursorInUrl | None, Query(description="where the page before ended, as its `Link` header says")
        ] = None,
    ) -> Listing:
        after = None
        if cursor is not None:
            if "skip" in request.query_params:
                raise ValidationException.of("skip", "must be left out where there is a cursor")
            try:
                after = read_cursor(cursor, len(keys))
            except ValueError as error:
                raise ValidationException.of("cursor", str(error)) from None
        return Listing(request, response, Page(skip, limit, after), keys)

    return Depends(listing, scope="function")


Paging = Annotated[Listing, listed_by("id")]
Session = Annotated[AsyncSession, Depends(current_session, scope="function")]
Kept = Annotated[Keeping, Depends(current_keeping, scope="function")]
Now = Annotated[datetime, Depends(current_instant, scope="function")]
DefaultLocale = Annotated[str, Depends(default_locale, scope="function")]
