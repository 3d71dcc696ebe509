"""What endpoints are given: the request's session, the present instant, the usual language, a page."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.api.fields import LimitInUrl, SkipInUrl
from health_services.pagination import MAX_LIMIT, Page

T = TypeVar("T")


def current_session(request: Request) -> AsyncSession:
    """The session that the route opened for this request; its transaction ends before the answer goes out."""
    session: AsyncSession = request.state.session
    return session


def current_instant() -> datetime:
    """Now, in UTC: the only place where a request looks at the clock."""
    return datetime.now(UTC)


def default_locale(request: Request) -> str:
    """The language of those who have chosen none."""
    locale: str = request.app.state.settings.default_locale
    return locale


def requested_page(
    skip: Annotated[SkipInUrl, Query(description="rows to leave out")] = 0,
    limit: Annotated[LimitInUrl, Query(description="rows to answer at most")] = MAX_LIMIT,
) -> Page:
    """The guide's `skip` and `limit`."""
    return Page(skip, limit)


class Listing:
    """One page of a list: what is asked for, and how it is answered."""

    def __init__(
        self, request: Request, response: Response, page: Annotated[Page, Depends(requested_page, scope="function")]
    ) -> None:
        self.page = page
        self._request = request
        self._response = response

    def answer(self, rows: Sequence[T]) -> Sequence[T]:
        """The page of the rows that were read; the next one is named in the Link header (RFC 8288) if there is one."""
        shown, has_more = self.page.cut(rows)
        if has_more:
            others = [(k, v) for k, v in parse_qsl(self._request.url.query) if k not in {"skip", "limit"}]
            query = urlencode([*others, ("skip", self.page.skip + self.page.limit), ("limit", self.page.limit)])
            self._response.headers["Link"] = f'<{self._request.url.path}?{query}>; rel="next"'
        return shown


Paging = Annotated[Listing, Depends(scope="function")]
Session = Annotated[AsyncSession, Depends(current_session, scope="function")]
Now = Annotated[datetime, Depends(current_instant, scope="function")]
DefaultLocale = Annotated[str, Depends(default_locale, scope="function")]
